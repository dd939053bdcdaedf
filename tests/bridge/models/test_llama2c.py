"""Models in the format of llama2.c, written here from models of transformers."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from expander_theory.base.errors import InvalidFile
from sae_bridge.models._llama2c import read_llama2c

PIECES = [" ", "a", "b", "c", "ab", " a", " ab", "abc", " abc", "é"]
VOCABULARY = 3 + 256 + len(PIECES)


def written(path, *, kv_heads, tied):
    """A random Llama, and its file."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=kv_heads,
        vocab_size=VOCABULARY, max_position_embeddings=16, rms_norm_eps=1e-5, tie_word_embeddings=tied,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    state = {name: value.numpy() for name, value in model.state_dict().items()}

    def pairs(weight):
        """Rows as llama2.c rotates them: those of a head's halves in turn."""
        heads = weight.reshape(-1, 2, 3, 24)  # heads of 6 rows
        return heads.swapaxes(1, 2).reshape(weight.shape)

    def layers(kind, change=lambda weight: weight):
        return np.stack([change(state[f"model.layers.{i}.{kind}.weight"]) for i in range(3)])

    parts = [
        state["model.embed_tokens.weight"],
        layers("input_layernorm"),
        layers("self_attn.q_proj", pairs),
        layers("self_attn.k_proj", pairs),
        layers("self_attn.v_proj"),
        layers("self_attn.o_proj"),
        layers("post_attention_layernorm"),
        layers("mlp.gate_proj"),
        layers("mlp.down_proj"),
        layers("mlp.up_proj"),
        state["model.norm.weight"],
        np.zeros((2, 16, 3)),
    ]
    if not tied:
        parts.append(state["lm_head.weight"])
    sizes = (24, 40, 3, 4, kv_heads, VOCABULARY if tied else -VOCABULARY, 16)
    tokens = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(bytes([i]) for i in range(256)), *(p.encode() for p in PIECES)]
    content = np.array(sizes, "<i4").tobytes() + b"".join(part.astype("<f4").tobytes() for part in parts)
    content += np.array([9], "<i4").tobytes()
    for i, token in enumerate(tokens):
        content += np.array([-i], "<f4").tobytes() + np.array([len(token)], "<i4").tobytes() + token
    path.write_bytes(content)
    return model


@pytest.mark.parametrize(("kv_heads", "tied"), [(4, True), (2, False)])
def test_the_model_gives_the_same_logits(tmp_path, kv_heads, tied):
    model = written(tmp_path / "model.bin", kv_heads=kv_heads, tied=tied)
    read, _ = read_llama2c(tmp_path / "model.bin", torch.float32)
    tokens = torch.randint(0, VOCABULARY, (3, 16), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(read.eval()(tokens).logits, model(tokens).logits, rtol=1e-5, atol=1e-6)


def test_the_tokenizer_merges_by_rank_and_spells_bytes(tmp_path):
    written(tmp_path / "model.bin", kv_heads=4, tied=True)
    _, tokenizer = read_llama2c(tmp_path / "model.bin", torch.float32)

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    first = 3 + 256
    assert ids("abc") == [first + PIECES.index(" abc")]
    assert ids("b abc") == [first + PIECES.index(p) for p in (" ", "b", " abc")]
    assert ids("é") == [first + PIECES.index(p) for p in (" ", "é")]
    assert ids("ü") == [first, *(3 + byte for byte in "ü".encode())]
    for text in ("abc a  b", "naïve 🙂 cab"):
        assert tokenizer.decode(ids(text)) == text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)


def test_damaged_files_are_refused(tmp_path):
    written(tmp_path / "model.bin", kv_heads=4, tied=True)
    content = (tmp_path / "model.bin").read_bytes()
    for damaged, message in (
        (b"", "no file of llama2.c"),
        (b"GGUF" + content[4:], "no file of llama2.c"),
        (content[:5000], "is cut short"),
        (content[:-2], "is cut short: 2 bytes more"),
    ):
        (tmp_path / "damaged.bin").write_bytes(damaged)
        with pytest.raises(InvalidFile, match=message):
            read_llama2c(tmp_path / "damaged.bin", torch.float32)
