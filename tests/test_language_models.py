import pytest
import torch
from conftest import save_tiny_model

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.errors import MissingResource
from sae_bridge.language_models import load_language_model


@pytest.fixture(params=["llama", "gpt_neox", "qwen2"])
def model(request, tmp_path):
    return load_language_model(str(save_tiny_model(tmp_path / "model", request.param)))


TOKENS = torch.arange(12).view(2, 6)


def test_hooks_see_the_residual_stream(model):
    """Against the hidden states that transformers itself reports."""
    with torch.no_grad():
        hidden = model.model(TOKENS, output_hidden_states=True).hidden_states
    for layer in range(4):
        assert torch.equal(model.activations(TOKENS, layer, "resid_pre"), hidden[layer])
    for layer in range(3):
        assert torch.equal(model.activations(TOKENS, layer, "resid_post"), hidden[layer + 1])


def test_later_blocks_are_not_run(model):
    model.layers[3].register_forward_hook(lambda *_: pytest.fail("ran block 3"))
    assert model.activations(TOKENS, 2).shape == (2, 6, 32)


@pytest.mark.parametrize("hook", ["resid_pre", "resid_post"])
def test_interventions_change_what_follows_and_are_removed(model, hook):
    with torch.no_grad():
        clean = model.model(TOKENS).logits
        with model.intervene(1, hook, lambda h: h.clone()):
            assert torch.equal(model.model(TOKENS).logits, clean)
        stored = model.activations(TOKENS, 1, hook)
        other = torch.flip(TOKENS, [1])
        with model.intervene(1, hook, lambda _: stored):
            torch.testing.assert_close(model.model(other).logits, clean)
        assert not torch.equal(model.model(other).logits, clean)
        assert torch.equal(model.model(TOKENS).logits, clean)


def test_bad_layers_and_hooks_are_named(model):
    with pytest.raises(InvalidArgument, match="layer = 4: must be between 0 and 3"):
        model.activations(TOKENS, 4)
    with pytest.raises(InvalidArgument, match="hook = 'mlp'"):
        model.activations(TOKENS, 1, "mlp")


def test_missing_and_unreadable_models(tmp_path, monkeypatch):
    with pytest.raises(InvalidFile, match="no such model folder"):
        load_language_model(str(tmp_path / "absent"))
    with pytest.raises(InvalidFile, match="no such model folder"):
        load_language_model(str(tmp_path / "absent.gguf"))
    with pytest.raises(InvalidFile, match=r"config\.json"):
        load_language_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{ this is no JSON")
    with pytest.raises(InvalidFile, match="cannot be loaded"):
        load_language_model(str(tmp_path))
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but no more")
    with pytest.raises(InvalidFile, match="cannot be loaded"):
        load_language_model(str(tmp_path / "bad.gguf"))
    monkeypatch.setenv("EXPANDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingResource, match="expander fetch model"):
        load_language_model()


def test_weights_without_their_config_are_reported(tmp_path):
    save_tiny_model(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"short")
    with pytest.raises(InvalidFile, match="cannot be loaded"):
        load_language_model(str(tmp_path / "model"))


class TestDefaultModel:
    """The real embedded language model, offline."""

    def test_it_is_a_language_model(self, default_model):
        assert default_model.m == 576
        assert len(default_model.layers) == 30
        ids = default_model.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            best = int(default_model.model(ids).logits[0, -1].argmax())
        assert default_model.tokenizer.decode([best]).strip() == "Paris"

    def test_the_norm_of_the_first_token_dwarfs_the_rest(self, default_model):
        ids = default_model.tokenizer("Rain fell on the old town all day long.", return_tensors="pt")["input_ids"]
        norms = default_model.activations(ids, 14)[0].norm(dim=1)
        assert norms[0] > 50 * norms[1:].max()
