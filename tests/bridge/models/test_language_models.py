import json
import re
import shutil

import huggingface_hub
import pytest
import torch
from conftest import save_tiny_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.base.errors import MissingResource
from sae_bridge.models.language_models import HOOKS, LanguageModel, load_language_model

SIZES = {"vocab_size": 24, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
ROTARY = {**SIZES, "intermediate_size": 64, "max_position_embeddings": 64}
GROUPED = {**ROTARY, "num_key_value_heads": 2}
CONFIGS = {
    "gpt_neox": ROTARY,
    "qwen2": GROUPED,
    "llama": GROUPED,
    # two kinds of attention in turn, embeddings scaled and tied
    "gemma3_text": {**GROUPED, "head_dim": 8, "sliding_window": 4, "sliding_window_pattern": 2},
    # learnt positions
    "gpt2": {**SIZES, "n_positions": 64},
    "opt": {**SIZES, "ffn_dim": 64, "max_position_embeddings": 64, "word_embed_proj_dim": 32},
    # blocks that return tuples
    "bloom": SIZES,
}


@pytest.fixture(scope="module", params=CONFIGS)
def model(request, tmp_path_factory):
    folder = save_tiny_model(tmp_path_factory.mktemp("models") / request.param)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(
        AutoConfig.for_model(request.param, bos_token_id=1, eos_token_id=2, pad_token_id=0, **CONFIGS[request.param])
    ).save_pretrained(folder)
    return load_language_model(str(folder))


TOKENS = torch.arange(1, 13).view(2, 6)


def test_hooks_see_the_residual_stream(model):
    """Against the hidden states that transformers itself reports (it normalises the last)."""
    with torch.no_grad():
        hidden = model.model(TOKENS, output_hidden_states=True).hidden_states
    assert len(hidden) == 5
    for layer in range(4):
        assert torch.equal(model.activations(TOKENS, layer, "resid_pre"), hidden[layer])
    for layer in range(3):
        assert torch.equal(model.activations(TOKENS, layer, "resid_post"), hidden[layer + 1])
    assert not torch.allclose(model.activations(TOKENS, 3), hidden[3])


def test_a_block_hands_on_what_the_next_reads(model):
    for layer in range(3):
        here, there = model.activations(TOKENS, layer, "resid_post"), model.activations(TOKENS, layer + 1, "resid_pre")
        assert torch.equal(here, there)


def test_sizes(model):
    assert (model.m, len(model.layers), model.vocabulary, model.dtype) == (32, 4, 24, torch.float32)
    assert model.activations(TOKENS, 2).shape == (2, 6, 32)
    assert model.logits(TOKENS).shape == (2, 6, 24)


def test_later_blocks_are_not_run(model):
    with fail_if_run(model, [3]):
        model.activations(TOKENS, 2)
        with pytest.raises(pytest.fail.Exception, match="ran a block"):
            model.activations(TOKENS, 3)


class fail_if_run:
    """Within it, no attention nor MLP of some blocks may run."""

    def __init__(self, model, blocks):
        self.parts = [part for block in blocks for part in model.layers[block].children()]

    def __enter__(self):
        self.handles = [part.register_forward_pre_hook(lambda *_: pytest.fail("ran a block")) for part in self.parts]

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


@pytest.mark.parametrize("hook", ["resid_pre", "resid_post"])
@pytest.mark.parametrize("layer", range(4))
def test_logits_from_is_an_intervention_without_the_blocks_below(model, layer, hook):
    replacement = model.activations(TOKENS, layer, hook) + torch.randn(2, 6, 32, generator=torch.manual_seed(layer))
    clean = model.logits(TOKENS)
    with model.intervene(layer, hook, lambda _: replacement):
        wanted = model.logits(TOKENS)
    model.logits_from(TOKENS, layer, hook, replacement)  # once it has learnt what a block returns
    with fail_if_run(model, range(layer + (hook == "resid_post"))):
        found = model.logits_from(TOKENS, layer, hook, replacement)
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, clean, atol=1e-3)
    torch.testing.assert_close(model.logits_from(TOKENS, layer, hook, model.activations(TOKENS, layer, hook)), clean)
    assert torch.equal(model.logits(TOKENS), clean)


def test_blocks_run_again_after_an_error(model):
    clean = model.logits(TOKENS)
    handle = model.layers[3].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.logits_from(TOKENS, 2, "resid_post", torch.zeros(2, 6, 32))
    handle.remove()
    assert torch.equal(model.logits(TOKENS), clean)
    assert all("forward" not in block.__dict__ for block in model.layers)


def test_a_forward_that_was_put_in_place_of_a_block_stays(model):
    block = model.layers[0]
    own = block.forward
    block.forward = lambda *args, **kwargs: own(*args, **kwargs)
    placed = block.__dict__["forward"]
    model.logits_from(TOKENS, 2, "resid_pre", torch.zeros(2, 6, 32))
    assert block.__dict__.pop("forward") is placed


@pytest.mark.parametrize("hook", ["resid_pre", "resid_post"])
def test_interventions_change_what_follows_and_are_removed(model, hook):
    clean = model.logits(TOKENS)
    with model.intervene(1, hook, lambda h: h.clone()):
        assert torch.equal(model.logits(TOKENS), clean)
    stored = model.activations(TOKENS, 1, hook)
    other = torch.flip(TOKENS, [1])
    with model.intervene(1, hook, lambda _: stored):
        torch.testing.assert_close(model.logits(other), clean)
    assert not torch.equal(model.logits(other), clean)
    assert torch.equal(model.logits(TOKENS), clean)


@pytest.fixture
def folder(tmp_path):
    return save_tiny_model(tmp_path / "model")


def test_bad_layers_hooks_and_hidden_states_are_named(folder):
    model = load_language_model(str(folder))
    for bad in (-1, 4):
        with pytest.raises(InvalidArgument, match=re.escape(f"layer = {bad}: must be between 0 and 3 for {folder}")):
            model.activations(TOKENS, bad)
    with pytest.raises(InvalidArgument, match=r"layer = 1\.5: must be an integer"):
        model.activations(TOKENS, 1.5)
    with pytest.raises(InvalidArgument, match="hook = 'mlp'"):
        model.activations(TOKENS, 1, "mlp")
    with pytest.raises(InvalidArgument, match="hook = 'mlp'"):
        model.logits_from(TOKENS, 1, "mlp", torch.zeros(2, 6, 32))
    with pytest.raises(InvalidArgument, match=r"hidden = \(2, 5, 32\): must have the shape \(2, 6, 32\)"):
        model.logits_from(TOKENS, 1, "resid_post", torch.zeros(2, 5, 32))


def test_bfloat16_is_a_rounding_of_the_same_model(folder):
    full, half = load_language_model(str(folder)), load_language_model(str(folder), dtype="bfloat16")
    assert half.dtype == half.activations(TOKENS, 2).dtype == half.logits(TOKENS).dtype == torch.bfloat16
    for wide, narrow in zip(full.model.parameters(), half.model.parameters(), strict=True):
        assert torch.equal(wide.bfloat16(), narrow)
    torch.testing.assert_close(half.logits(TOKENS).float(), full.logits(TOKENS), atol=0.05, rtol=0.05)
    hidden = full.activations(TOKENS, 1)  # of another dtype than the model
    torch.testing.assert_close(
        half.logits_from(TOKENS, 1, "resid_post", hidden), half.logits(TOKENS), atol=0.05, rtol=0
    )
    with pytest.raises(InvalidArgument, match="dtype = 'float16': must be one of float32, bfloat16"):
        load_language_model(str(folder), dtype="float16")


def test_missing_and_unreadable_models(tmp_path, monkeypatch):
    with pytest.raises(InvalidFile, match="no such model folder"):
        load_language_model(str(tmp_path / "absent"))
    with pytest.raises(InvalidFile, match="no such model folder"):
        load_language_model(str(tmp_path / "absent.gguf"))
    with pytest.raises(InvalidFile, match=r"config\.json"):
        load_language_model(str(tmp_path))
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but no more")
    with pytest.raises(InvalidFile, match=r"bad\.gguf: cannot be loaded"):
        load_language_model(str(tmp_path / "bad.gguf"))
    with pytest.raises(InvalidArgument, match="device = 'abacus'"):
        load_language_model(device="abacus")
    with pytest.raises(InvalidArgument, match="model = ' ': must be 'default', 'gemma', 'stories', a folder"):
        load_language_model(" ")


@pytest.mark.parametrize("name", ["default", "gemma"])
def test_named_models_that_were_not_fetched_name_the_command(name, tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sae_bridge.models.resources._installed", lambda _: None)
    command = {"default": "expander fetch model", "gemma": "Gemma Terms of Use.*expander fetch gemma"}[name]
    with pytest.raises(MissingResource, match=command):
        load_language_model(name)


def test_a_fetched_model_that_is_damaged_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDER_CACHE", str(tmp_path))
    file = tmp_path / "gemma" / "gemma-3-270m-q4_k_m.gguf"
    file.parent.mkdir()
    file.write_bytes(b"GGUF but no more")
    with pytest.raises(InvalidFile, match=r"gemma-3-270m-q4_k_m\.gguf: cannot be loaded"):
        load_language_model("gemma")
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("config.json", "holds no config.json"),
        ("model.safetensors", "holds no weights: none of model.safetensors"),
        ("tokenizer.json", "holds no tokenizer: none of tokenizer.json"),
    ],
)
def test_the_file_that_a_folder_lacks_is_named(folder, gone, message):
    (folder / gone).unlink()
    with pytest.raises(InvalidFile, match=message):
        load_language_model(str(folder))


def test_the_shard_that_a_folder_lacks_is_named(folder):
    whole = load_language_model(str(folder))
    shards = folder.parent / "shards"
    whole.model.save_pretrained(shards, max_shard_size="20KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, shards)
    assert load_language_model(str(shards)).fingerprint == whole.fingerprint
    second = sorted(shards.glob("model-00002*.safetensors"))[0]
    second.unlink()
    with pytest.raises(InvalidFile, match=rf"{second.name}: this shard of the weights is missing"):
        load_language_model(str(shards))
    (shards / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(InvalidFile, match=r"model\.safetensors\.index\.json: damaged"):
        load_language_model(str(shards))


def test_parameters_are_never_made_up(folder):
    """transformers fills absent ones with random values and goes on."""
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.2.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidFile, match=r"lack 1 parameters of the model: model\.layers\.2\.mlp\.up_proj\.weight"):
        load_language_model(str(folder))


def test_damaged_files_are_reported(folder):
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(InvalidFile, match="cannot be loaded"):
        load_language_model(str(folder))
    (folder / "config.json").write_text("{ this is no JSON")
    with pytest.raises(InvalidFile, match="cannot be loaded"):
        load_language_model(str(folder))
    (folder / "config.json").write_text(json.dumps({"model_type": "unheard_of"}))
    with pytest.raises(InvalidFile, match=r"cannot be loaded.*unheard_of"):
        load_language_model(str(folder))


class TestHub:
    """Without one: what the hub would answer is put in its place."""

    @pytest.fixture(autouse=True)
    def _no_hub(self, monkeypatch):
        self.asked = []

        def unreachable(_, name, **how):
            self.asked.append((name, how["timeout"]))
            raise ConnectionError("no route to the hub\nmore words")

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
        monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_, **__: pytest.fail("went on"))

    def test_an_unreachable_hub_is_asked_once_and_reported(self):
        with pytest.raises(InvalidArgument, match=r"'nobody/nothing': .*cannot be reached \(.*no route to the hub\)"):
            load_language_model("nobody/nothing")
        assert self.asked == [("nobody/nothing", 10.0)]

    def test_its_cached_copy_is_used_meanwhile(self, folder, monkeypatch):
        seen = {}

        def load(kind):
            real = kind.from_pretrained

            def from_folder(name, **how):
                seen[kind.__name__] = (name, how.pop("local_files_only"))
                return real(str(folder), **how)

            return from_folder

        monkeypatch.undo()
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: 1 / 0)
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: f"/cache/{name}/{file}")
        import transformers

        for kind in (transformers.AutoTokenizer, transformers.AutoModelForCausalLM):
            monkeypatch.setattr(kind, "from_pretrained", load(kind))
        model = load_language_model("some/model")
        assert model.name == "some/model"
        assert seen == {kind: ("some/model", True) for kind in ("AutoTokenizer", "AutoModelForCausalLM")}

    def test_a_name_that_the_hub_does_not_know_is_reported(self, monkeypatch):
        class Unknown(huggingface_hub.errors.RepositoryNotFoundError):
            def __init__(self):
                pass

        def unknown(*_, **__):
            raise Unknown

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unknown)
        with pytest.raises(InvalidArgument, match=r"'nobody/nothing': neither a file here nor a model on the hub"):
            load_language_model("nobody/nothing")

    def test_what_no_hub_could_have_is_not_asked_for(self, monkeypatch):
        monkeypatch.undo()
        with pytest.raises(InvalidArgument, match="neither a file here nor a model on the hub"):
            load_language_model("two words")


class TestDefaultModel:
    """The real embedded language model, offline."""

    def test_it_is_a_language_model(self, default_model):
        assert default_model.m == 576
        assert len(default_model.layers) == 30
        ids = default_model.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
        best = int(default_model.logits(ids)[0, -1].argmax())
        assert default_model.tokenizer.decode([best]).strip() == "Paris"

    def test_the_norm_of_the_first_token_dwarfs_the_rest(self, default_model):
        ids = default_model.tokenizer("Rain fell on the old town all day long.", return_tensors="pt")["input_ids"]
        norms = default_model.activations(ids, 14)[0].norm(dim=1)
        assert norms[0] > 50 * norms[1:].max()


@pytest.fixture(scope="module")
def gemma():
    try:
        return load_language_model("gemma")
    except MissingResource as missing:
        pytest.skip(str(missing))


class TestGemma:
    """The second real model, where it was fetched."""

    def test_it_is_a_language_model_of_another_family(self, gemma):
        assert (gemma.m, len(gemma.layers), gemma.vocabulary) == (640, 18, 262_144)
        ids = gemma.tokenizer("The opposite of hot is", return_tensors="pt")["input_ids"]
        assert ids[0].tolist() == [2, 818, 11688, 529, 3425, 563]
        best = int(gemma.logits(ids)[0, -1].argmax())
        assert gemma.tokenizer.decode([best]).strip() == "cold"

    def test_the_norm_of_bos_dwarfs_the_rest(self, gemma):
        ids = gemma.tokenizer("Rain fell on the old town all day long.", return_tensors="pt")["input_ids"]
        norms = gemma.activations(ids, 8)[0].norm(dim=1)
        assert norms[0] > 8 * norms[1:].max()


def vision_language_model(folder, layers=4):
    """A Gemma 3 with a vision tower of as many blocks as its decoder."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = AutoConfig.for_model("gemma3_text", **{**CONFIGS["gemma3_text"], "num_hidden_layers": layers})
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    config = Gemma3Config(text_config=text.to_dict(), vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    return LanguageModel("tiny", Gemma3ForConditionalGeneration(config).eval(), None)


def test_the_blocks_of_a_multimodal_model_are_those_of_its_text(tmp_path):
    model = vision_language_model(tmp_path)
    lists = [m for m in model.model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 4]
    assert len(lists) == 2
    assert model.layers is not lists[0] or "vision" not in str(type(lists[0][0])).lower()
    assert model.m == 32
    for layer in range(4):
        for hook in HOOKS:
            assert model.activations(TOKENS, layer, hook).shape == (2, 6, model.width(layer, hook))
            model.require_steerable(layer, hook)
    with model.intervene(1, "resid_post", torch.zeros_like):
        changed = model.logits(TOKENS)
    assert not torch.equal(changed, model.logits(TOKENS))


def test_a_place_that_no_logit_depends_on_is_refused(model, monkeypatch):
    model.require_steerable(1, "resid_post")
    monkeypatch.setitem(vars(model), "layers", torch.nn.ModuleList([torch.nn.Identity() for _ in range(4)]))
    with pytest.raises(InvalidArgument, match="an intervention there changes nothing"):
        model.require_steerable(1, "resid_post")
