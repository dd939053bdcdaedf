"""What stands on hook points inside a block: fidelity, finetuning, steering, pages, and others' names of them."""

import numpy as np
import pytest
import torch
from conftest import save_tiny_model

from expander_theory import InvalidArgument
from expander_theory.masks import uniform_mask
from sae_bridge.activations import Harvest, TextSource, harvest
from sae_bridge.evaluation.model_fidelity import fidelity
from sae_bridge.features import Look, described, gather
from sae_bridge.interop import fields_of_hookpoint, fields_of_saelens, saebench_sae, saelens_metadata
from sae_bridge.interop._metadata import sparsify_hookpoint
from sae_bridge.models import HOOKS, load_language_model
from sae_bridge.sae import ExpanderSAE
from sae_bridge.steering import Place, added, next_tokens
from sae_bridge.training._contexts import ContextStream

INNER = ("mlp_in", "mlp_out", "attn_out", "attn_z")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_language_model(str(save_tiny_model(tmp_path_factory.mktemp("model"), "gpt_neox")))


@pytest.fixture(scope="module", params=INNER)
def stored(request, model, text_folder, tmp_path_factory):
    what = Harvest(layer=1, hook=request.param, context=16, train_contexts=24, held_out_contexts=6)
    folder = tmp_path_factory.mktemp("stores") / request.param
    return harvest(model, TextSource([str(text_folder)]), what, folder, progress=False)


def test_a_store_holds_what_passes_the_hook(model, stored):
    hook, kept = stored.description["hook"], stored.kept("held_out")
    assert stored.m == model.width(1, hook)
    wanted = model.activations(stored.tokens("held_out").long(), 1, hook)[kept]
    torch.testing.assert_close(torch.cat(list(stored.batches("held_out", 50))), wanted)


@pytest.fixture(scope="module")
def sae(stored):
    torch.manual_seed(0)
    made = ExpanderSAE(uniform_mask(32, 64, 4, seed=0), 4, encoder="random")
    rows = next(stored.batches("train", 300))
    made.fit_normalisation(rows.mean(0), float(rows.square().sum(1).mean()))
    return made.eval()


def test_fidelity_is_that_of_interventions(model, stored):
    hook = stored.description["hook"]
    found = fidelity({"same": lambda h: h, "half": lambda h: h / 2}, model, stored, progress=False)
    tokens, kept = stored.tokens("held_out").long(), stored.kept("held_out")
    at = kept[..., None].expand(-1, -1, model.width(1, hook))
    with model.intervene(1, hook, lambda h: torch.where(at, h / 2, h)):
        q = model.logits(tokens).double().log_softmax(-1)
    p = model.logits(tokens).double().log_softmax(-1)
    wanted = float((p.exp() * (p - q)).sum(-1)[kept].mean())
    assert wanted > 0
    assert found["half"].kl == pytest.approx(wanted, rel=1e-3)
    assert found["same"].kl == pytest.approx(0, abs=1e-7)
    assert found["half"].ce_zero != found["half"].ce_clean


def test_finetuning_sees_what_replacements_do(model, stored):
    stream = ContextStream(model, stored, 3, 0)
    h = stream.batch(0)
    assert float(stream.divergence(h)) == pytest.approx(0, abs=1e-6)
    changed = (h / 2).requires_grad_()
    (gradient,) = torch.autograd.grad(stream.divergence(changed), changed)
    assert bool(gradient.abs().amax() > 0)


def test_features_are_added_where_they_were_found(model, stored, sae):
    place = Place(model, 1, stored.description["hook"])
    ids = torch.tensor([1, 2, 3, 4])
    assert next_tokens(place, ids, added(sae, 3, 0.0)).kl == pytest.approx(0, abs=1e-7)
    assert next_tokens(place, ids, added(sae, 3, 50.0)).kl > 1e-6


def test_pages_show_effects_of_what_is_written_to_the_stream(model, stored, sae):
    hook, look = stored.description["hook"], Look(pool=12, window=4)
    seen = gather(sae, stored, np.arange(4), look)
    written = hook in ("mlp_out", "attn_out")
    for fields in described(sae, model, seen, look, hook=hook, progress=False):
        assert (len(fields["promotes"]) > 0) == (len(fields["suppresses"]) > 0) == written
        assert len(fields["rows"]) == 4
        assert all((len(row["promotes"]) > 0) == written for row in fields["rows"])


@pytest.mark.parametrize(
    ("hook", "name"),
    [
        ("resid_pre", "blocks.7.hook_resid_pre"),
        ("resid_post", "blocks.7.hook_resid_post"),
        ("mlp_in", "blocks.7.mlp.hook_in"),
        ("mlp_out", "blocks.7.hook_mlp_out"),
        ("attn_out", "blocks.7.hook_attn_out"),
        ("attn_z", "blocks.7.attn.hook_z"),
    ],
)
def test_names_in_transformerlens_and_back(hook, name):
    place = {"layer": 7, "hook": hook}
    metadata = saelens_metadata(place, "gpt2")
    assert metadata["hook_name"] == name
    assert fields_of_saelens(metadata) == {"language_model": "gpt2", **place}
    sae = ExpanderSAE(uniform_mask(12, 30, 4, seed=0), 3, encoder="random").eval()
    assert saebench_sae(sae, place, "gpt2").cfg.hook_name == name
    assert hook in HOOKS


def test_hooks_that_differ_have_no_names():
    """In TransformerLens ``hook_mlp_in`` is before the norm, ``hook_normalized`` before its weight."""
    for name in ("blocks.7.hook_mlp_in", "blocks.7.ln2.hook_normalized", "blocks.7.hook_resid_mid", "blocks.7"):
        assert fields_of_saelens({"hook_name": name}) == {}
    sae = ExpanderSAE(uniform_mask(12, 30, 4, seed=0), 3, encoder="random").eval()
    with pytest.raises(InvalidArgument, match="hook = 'mlp_mid': has no name in TransformerLens"):
        saebench_sae(sae, {"layer": 7, "hook": "mlp_mid"}, "gpt2")
    assert "hook_name" not in saelens_metadata({"layer": 7, "hook": "mlp_mid"}, "gpt2")


@pytest.mark.parametrize(
    ("name", "hook"),
    [("layers.3", "resid_post"), ("layers.3.mlp", "mlp_out"), ("layers.3.self_attn", "attn_out")],
)
def test_names_of_modules_and_back(name, hook):
    assert fields_of_hookpoint(name) == {"layer": 3, "hook": hook}
    assert sparsify_hookpoint({"layer": 3, "hook": hook}) == name


def test_names_of_other_modules():
    assert fields_of_hookpoint("transformer.h.3.attn") == {"layer": 3, "hook": "attn_out"}
    assert fields_of_hookpoint("gpt_neox.layers.3.attention") == {"layer": 3, "hook": "attn_out"}
    for name in ("layers.3.mlp.down_proj", "layers.3.input_layernorm", "layers.x", "lm_head"):
        assert fields_of_hookpoint(name) == {}
    assert sparsify_hookpoint({"layer": 3, "hook": "mlp_in"}) is None
    assert sparsify_hookpoint({"layer": 3, "hook": "attn_z"}) is None
    assert sparsify_hookpoint({"hook": "mlp_out"}) is None
