"""Models of Karpathy's llama2.c: one file with the weights, then the tokenizer, as its JavaScript ports pack them.

The format, little-endian: seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, which is negative
where the classifier is not the embedding, seq_len); float32 weights, of all layers one kind after the other; then
int32 longest token, and for each token float32 score, int32 length, bytes.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import InvalidFile

_SPACE = "▁"  # what sentencepiece writes for a space
_SPECIAL = ("<unk>", "<s>", "</s>")
_FIRST_PIECE = 3 + 256
"""Tokens below are special ones and single bytes."""


@dataclass(frozen=True)
class _Sizes:
    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int

    def valid(self) -> bool:
        """Whether a model may have them."""
        positive = min(abs(size) for size in astuple(self)) > 0 and min(astuple(self)[:5]) > 0 and self.context > 0
        return positive and self.dim % (2 * self.heads) == 0 and self.heads % self.kv_heads == 0


def read_llama2c(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """A Llama of ``transformers`` and its tokenizer.

    Raises:
        InvalidFile: not such a file, or one that is cut short.
    """
    import transformers

    content = path.read_bytes()
    sizes = _Sizes(*map(int, np.frombuffer(content[:28], "<i4"))) if len(content) >= 28 else None
    if sizes is None or not sizes.valid():
        raise InvalidFile(path, "is no file of llama2.c: its first 28 bytes are no sizes of a model")
    weights = _Reader(path, content, 28)
    state = _state(weights, sizes)
    config = transformers.LlamaConfig(
        hidden_size=sizes.dim,
        intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        vocab_size=abs(sizes.vocabulary),
        max_position_embeddings=sizes.context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=sizes.vocabulary > 0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.load_state_dict(state, strict=sizes.vocabulary < 0)
    model.tie_weights()
    return model, _tokenizer(weights.tokens(abs(sizes.vocabulary)))


class _Reader:
    """Reads on from a place in the file."""

    def __init__(self, path: Path, content: bytes, at: int) -> None:
        self._path, self._content, self._at = path, content, at

    def floats(self, *shape: int) -> NDArray[np.float32]:
        """The next values."""
        found = np.frombuffer(self._take(4 * math.prod(shape)), "<f4").reshape(shape).astype(np.float32)
        if not np.isfinite(found).all():
            raise InvalidFile(self._path, "holds NaN or infinite weights")
        return found

    def tokens(self, count: int) -> list[bytes]:
        """The tokenizer's, by id, which is their order of merging."""
        self._take(4)
        found = []
        for _ in range(count):
            length = int(np.frombuffer(self._take(8)[4:], "<i4")[0])
            found.append(self._take(max(0, length)))
        return found

    def _take(self, size: int) -> bytes:
        part = self._content[self._at : self._at + size]
        if len(part) < size:
            raise InvalidFile(self._path, f"is cut short: {size - len(part):,} bytes more were expected at its end")
        self._at += size
        return part


def _state(read: _Reader, sizes: _Sizes) -> dict[str, Tensor]:
    """Parameters by the names that ``transformers`` gives them, in the order of the file."""
    layers, dim, hidden = sizes.layers, sizes.dim, sizes.hidden
    head, kv = dim // sizes.heads, dim // sizes.heads * sizes.kv_heads
    embedding = read.floats(abs(sizes.vocabulary), dim)
    kinds = {
        "input_layernorm": read.floats(layers, dim),
        "self_attn.q_proj": _halves(read.floats(layers, dim, dim), head),
        "self_attn.k_proj": _halves(read.floats(layers, kv, dim), head),
        "self_attn.v_proj": read.floats(layers, kv, dim),
        "self_attn.o_proj": read.floats(layers, dim, dim),
        "post_attention_layernorm": read.floats(layers, dim),
        "mlp.gate_proj": read.floats(layers, hidden, dim),
        "mlp.down_proj": read.floats(layers, dim, hidden),
        "mlp.up_proj": read.floats(layers, hidden, dim),
    }
    arrays = {"model.embed_tokens.weight": embedding, "model.norm.weight": read.floats(dim)}
    arrays |= {f"model.layers.{i}.{kind}.weight": a[i] for kind, a in kinds.items() for i in range(layers)}
    read.floats(2, sizes.context, head // 2)  # cosines and sines of the rotations, which the model computes itself
    if sizes.vocabulary < 0:
        arrays["lm_head.weight"] = read.floats(abs(sizes.vocabulary), dim)
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _halves(projection: NDArray[np.float32], head: int) -> NDArray[np.float32]:
    """Rows of each head reordered: llama2.c rotates pairs (2i, 2i + 1), ``transformers`` pairs (i, i + head / 2)."""
    layers, rows, dim = projection.shape
    paired = projection.reshape(layers, rows // head, head // 2, 2, dim)
    return paired.swapaxes(2, 3).reshape(layers, rows, dim)


def _tokenizer(tokens: list[bytes]) -> Any:
    """Byte-pair encoding with a byte for what no piece spells, as sentencepiece does it."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    names = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    names += [token.decode(errors="replace").replace(" ", _SPACE) for token in tokens[_FIRST_PIECE:]]
    ids = {name: i for i, name in enumerate(names[: len(tokens)])}
    merges = []
    for name in names[_FIRST_PIECE : len(tokens)]:
        halves = [(name[:i], name[i:]) for i in range(1, len(name))]
        merges += sorted((pair for pair in halves if pair[0] in ids and pair[1] in ids), key=lambda p: (ids[p[0]], p))
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in _SPECIAL])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
