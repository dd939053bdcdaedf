"""The same model, tokens and SAE through SAELens's evaluator and ours."""

import pytest
import torch
from support.stores import model_store

from expander_theory import uniform_mask
from sae_bridge.evaluation.model_fidelity import fidelity
from sae_bridge.interop import export_saelens
from sae_bridge.sae.sae import ExpanderSAE

sae_lens = pytest.importorskip("sae_lens", exc_type=ImportError)
HOOK = "blocks.1.hook_resid_post"
M = 16


class Hooked:
    """A HookedTransformer as a language model of ours."""

    name = fingerprint = "tiny hooked transformer"
    device = torch.device("cpu")

    def __init__(self, model):
        self.model, self.vocabulary, self.m = model, model.cfg.d_vocab, model.cfg.d_model

    def activations(self, tokens, layer, hook):
        with torch.no_grad():
            return self.model.run_with_cache(tokens, names_filter=HOOK)[1][HOOK]

    def logits_from(self, tokens, layer, hook, hidden):
        with torch.no_grad():
            return self.model.run_with_hooks(tokens, fwd_hooks=[(HOOK, lambda *_, **__: hidden)])


@pytest.fixture(scope="module")
def hooked():
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    config = HookedTransformerConfig(
        n_layers=3, d_model=M, n_ctx=20, d_head=8, d_vocab=40, act_fn="gelu", seed=0, device="cpu", init_weights=True
    )
    model = HookedTransformer(config)
    with torch.no_grad():
        for parameter in model.parameters():  # so that ablation changes what is predicted
            parameter.mul_(6)
    return model.eval()


@pytest.mark.parametrize("left_out", [[], [3, 7, 11]], ids=["all positions", "ignored tokens"])
def test_ce_and_kl_are_those_of_their_evaluator(hooked, tmp_path, left_out):
    from sae_lens.evals import get_recons_loss
    from sae_lens.training.activation_scaler import ActivationScaler

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 40, (12, 20), generator=generator)
    kept = ~torch.isin(tokens, torch.tensor(left_out)) if left_out else torch.ones_like(tokens, dtype=torch.bool)
    sae = ExpanderSAE(uniform_mask(M, 48, 4, seed=0), 5, seed=1).eval()
    export_saelens(sae, tmp_path / "x", {"language_model": "tiny", "layer": 1, "hook": "resid_post"})
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "x")
    how = {"compute_kl": True, "compute_ce_loss": True, "ignore_tokens": left_out or None, "hook_name": HOOK}
    with torch.no_grad():
        expected = get_recons_loss(theirs, hooked, ActivationScaler(), tokens, **how)
    mean = {}
    for name, value in expected.items():
        mask = kept[:, : value.shape[1]]  # cross-entropy lacks the last position
        mean[name] = float(value[mask].double().mean())

    model, split = Hooked(hooked), {"train": tokens, "held_out": tokens}
    store = model_store(model, split, 1, "resid_post", {"train": kept, "held_out": kept})
    change = {"sae": lambda h: sae(h)[0].detach()}
    found = fidelity(change, model, store, positions="kept", baseline="all", resample="contexts", progress=False)["sae"]
    ours = {
        "ce_loss_without_sae": found.ce_clean,
        "ce_loss_with_sae": found.ce,
        "ce_loss_with_ablation": found.ce_zero,
        "kl_div_with_sae": found.kl,
        "kl_div_with_ablation": found.kl_zero,
    }
    assert ours == pytest.approx({name: mean[name] for name in ours}, rel=1e-4)
    assert abs(found.delta) > 1e-2
    assert found.kl > 1e-2
    score = (mean["ce_loss_with_ablation"] - mean["ce_loss_with_sae"]) / (
        mean["ce_loss_with_ablation"] - mean["ce_loss_without_sae"]
    )
    if found.recovered_zero is not None:
        assert found.recovered_zero == pytest.approx(score, rel=1e-3)
