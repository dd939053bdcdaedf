import json

import numpy as np
import pytest
import torch
from conftest import save_tiny_model
from support.stores import model_store

from expander_theory import InvalidArgument, InvalidFile
from sae_bridge.evaluation.losses import BASELINES, Losses, conventions
from sae_bridge.evaluation.model_fidelity import fidelity, measure_losses
from sae_bridge.evaluation.reconstruction import mean_activation
from sae_bridge.models.language_models import load_language_model


def noisy(h):
    return h + 0.3 * torch.sin(40 * h)


@pytest.fixture(scope="module")
def measured(tiny_store):
    model, store = tiny_store
    return model, store, measure_losses({"noisy": noisy}, model, store, progress=False)


@pytest.fixture(scope="module")
def ragged(tiny_store):
    """A store of the small model with special positions in the middle, one context of which counts nowhere."""
    model, store = tiny_store
    tokens = {split: store.tokens(split)[:9] for split in ("train", "held_out")}
    generator = torch.Generator().manual_seed(0)
    kept = {split: torch.rand(ids.shape, generator=generator) < 0.7 for split, ids in tokens.items()}
    kept["held_out"][4] = False
    return model, model_store(model, tokens, 1, "resid_post", kept)


def by_hand(model, store, change, where, counted):
    """Mean cross-entropy and KL at the positions that count, one context at a time through the whole model."""
    ce, kl = [], []
    layer, hook = store.description["layer"], store.description["hook"]
    for ids, at, counts in zip(store.tokens("held_out"), where, counted, strict=True):

        def replace(hidden, at=at):
            return torch.where(at[None, :, None], change(hidden.flatten(0, 1)).view(hidden.shape), hidden)

        with torch.no_grad():
            clean = model.model(ids[None]).logits[0].double().log_softmax(dim=-1)
            with model.intervene(layer, hook, replace):
                changed = model.model(ids[None]).logits[0].double().log_softmax(dim=-1)
        for place in torch.nonzero(counts)[:, 0].tolist():
            kl.append(float((clean[place].exp() * (clean[place] - changed[place])).sum()))
            if place + 1 < len(ids):
                ce.append(-float(changed[place, ids[place + 1]]))
    return np.mean(ce), np.mean(kl), len(ce)


@pytest.mark.parametrize(("positions", "baseline"), [("kept", "kept"), ("kept", "all"), ("all", "kept")])
def test_every_run_against_the_whole_model_context_by_context(ragged, positions, baseline):
    model, store = ragged
    how = {"positions": positions, "baseline": baseline}
    found = fidelity({"noisy": noisy}, model, store, progress=False, **how)["noisy"]
    kept = store.kept("held_out")
    everywhere = torch.ones_like(kept)
    at = kept if positions == "kept" else everywhere
    ablated = everywhere if "all" in (positions, baseline) else kept
    mean = mean_activation(store, "train").float()
    runs = {
        "_clean": (lambda h: h, at),
        "": (noisy, at),
        "_zero": (torch.zeros_like, ablated),
        "_mean": (lambda h: mean.expand_as(h), ablated),
    }
    for name, (change, where) in runs.items():
        ce, kl, count = by_hand(model, store, change, where, at)
        assert getattr(found, f"ce{name}") == pytest.approx(ce, rel=1e-5)
        assert found.predictions == count
        if name != "_clean":
            assert getattr(found, f"kl{name}") == pytest.approx(kl, rel=1e-4)
            assert kl > 1e-3
    assert found.delta == pytest.approx(found.ce - found.ce_clean)
    for ablation in ("zero", "mean"):
        ce = getattr(found, f"ce_{ablation}")
        assert getattr(found, f"recovered_{ablation}") == pytest.approx((ce - found.ce) / (ce - found.ce_clean))
    assert (found.positions, found.baseline) == (positions, "all" if positions == "all" else baseline)


def test_the_identity_recovers_everything(measured):
    model, store, _ = measured
    found = fidelity({"same": lambda h: h.clone()}, model, store, progress=False)["same"]
    assert found.delta == found.kl == 0
    assert found.delta_interval == found.kl_interval == (0, 0)
    assert found.recovered_zero == found.recovered_mean == 1


def test_ablations_recover_nothing_of_themselves(measured):
    model, store, _ = measured
    mean = mean_activation(store, "train").float()
    changes = {"nothing": torch.zeros_like, "average": lambda h: mean.expand_as(h)}
    found = fidelity(changes, model, store, progress=False)
    assert found["nothing"].recovered_zero == 0
    assert found["nothing"].kl == found["nothing"].kl_zero > 0
    assert found["average"].recovered_mean == 0
    assert found["average"].kl == found["average"].kl_mean > 0
    assert found["average"].ce_zero > found["average"].ce_clean + 0.5


def test_intervals_hold_the_estimates_and_name_their_unit(measured):
    _, store, losses = measured
    for unit in ("documents", "contexts"):
        found = losses.fidelity("noisy", unit)
        for name in ("ce", "ce_clean", "ce_zero", "ce_mean", "delta", "recovered_zero", "recovered_mean", "kl"):
            low, high = getattr(found, f"{name}_interval")
            assert low < getattr(found, name) < high
        assert found.resample == unit
    assert found.documents == store.description["documents"]["held_out"] < found.contexts == 10
    assert losses.fidelity("noisy") == losses.fidelity("noisy", "contexts")  # too few documents


def test_the_first_token_keeps_its_activation_and_its_prediction_enters_no_mean(measured):
    model, store, losses = measured
    seen = []
    measure_losses({"watch": lambda h: seen.append(h) or h}, model, store, progress=False)
    assert sum(map(len, seen)) == store.count("held_out")
    assert torch.allclose(torch.cat(seen), store.rows("held_out"), atol=1e-5)
    assert not store.kept("held_out")[:, 0].any()
    assert losses.predictions.max() == 14
    assert losses.distributions.max() == 15


def test_the_batch_changes_nothing_beyond_rounding(ragged, monkeypatch):
    model, store = ragged
    whole = measure_losses({"noisy": noisy}, model, store, progress=False)
    monkeypatch.setattr("sae_bridge.evaluation.model_fidelity._PIECE_BYTES", 1000)
    parts = measure_losses({"noisy": noisy}, model, store, contexts_per_batch=2, progress=False)
    for run in (*BASELINES, "noisy"):
        np.testing.assert_allclose(parts.ce[run], whole.ce[run], rtol=1e-5)
        np.testing.assert_allclose(parts.kl[run], whole.kl[run], rtol=1e-4, atol=1e-5)
    assert whole.ce["noisy"][4] == whole.kl["noisy"][4] == whole.predictions[4] == 0


def test_logits_of_a_batch_stay_within_a_gibibyte():
    from sae_bridge.evaluation.model_fidelity import _contexts_per_batch

    for vocabulary, context in ((49_152, 128), (262_144, 128), (50_304, 1024)):
        batch = _contexts_per_batch(vocabulary, context)
        assert batch * vocabulary * context * 8 <= 2**30 < (batch + 1) * vocabulary * context * 8
    assert _contexts_per_batch(10**6, 2048) == 1


def test_known_baselines_are_not_run_again(measured):
    model, store, losses = measured
    known = Losses.from_fields(json.loads(json.dumps(losses.baselines().as_fields())))
    assert set(known.ce) == set(known.kl) == set(BASELINES)
    calls = []

    def count(tokens, layer, hook, hidden):
        calls.append(len(tokens))
        return type(model).logits_from(model, tokens, layer, hook, hidden)

    model.logits_from = count
    try:
        again = measure_losses({"noisy": noisy}, model, store, known=known, progress=False)
    finally:
        del model.logits_from
    assert sum(calls) == 2 * 10  # clean and noisy
    assert again.fidelity("noisy") == losses.fidelity("noisy")


def test_known_baselines_of_something_else_are_refused(measured):
    model, store, losses = measured
    with pytest.raises(InvalidArgument, match="known = losses with baseline = kept: must have baseline = all"):
        measure_losses({}, model, store, baseline="all", known=losses)
    other = Losses(**{**vars(losses), "store_sha256": "0"})
    with pytest.raises(InvalidArgument, match="known = losses with store_sha256 = 0"):
        measure_losses({}, model, store, known=other)


def test_damaged_fields_are_refused(measured):
    fields = measured[2].as_fields()
    for damaged, message in (
        ({key: value for key, value in fields.items() if key != "kl"}, "are not those of losses"),
        ({**fields, "more": 1}, "are not those of losses"),
        ({**fields, "ce": {"clean": fields["ce"]["clean"]}}, "must have"),
        ({**fields, "ce": {**fields["ce"], "zero": [1.0]}}, "one finite value for each"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            Losses.from_fields(damaged)


def test_bad_input(measured, ragged, tmp_path):
    model, store, losses = measured
    for replacements, how, message in (
        ({"zero": noisy}, {}, "must not be named as the baselines"),
        ({}, {"positions": "first"}, "positions = 'first'"),
        ({}, {"baseline": "none"}, "baseline = 'none'"),
        ({"short": lambda h: h[:, 1:]}, {}, r"short = \(\d+, 31\): must replace activations of shape"),
        ({"hole": lambda h: h * torch.nan}, {}, "hole = NaN or infinite"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            measure_losses(replacements, model, store, progress=False, **how)
    with pytest.raises(InvalidArgument, match="run = 'other': must be one of clean, zero, mean, noisy"):
        losses.fidelity("other")
    other = load_language_model(str(save_tiny_model(tmp_path / "m", seed=9)))
    with pytest.raises(InvalidFile, match="harvested from another model"):
        measure_losses({}, other, store, progress=False)
    kept = {split: torch.zeros_like(ragged[1].kept(split)) for split in ("train", "held_out")}
    for mask in kept.values():
        mask[:, -1] = True
    tokens = {split: ragged[1].tokens(split) for split in kept}
    with pytest.raises(InvalidArgument, match="leaves no prediction of a next token"):
        measure_losses({}, model, model_store(model, tokens, 1, "resid_post", kept), progress=False)


def test_the_conventions_are_said():
    assert "ablations on every position" in conventions("kept", "all", "documents")
    assert "bootstrap over documents" in conventions("kept", "all", "documents")
    assert "ablations act on the positions that count" in conventions("kept", "kept", "contexts")
    assert "over contexts" in conventions("kept", "kept", "contexts")
    assert "keep their activation" not in conventions("all", "all", "contexts")
