"""Evaluation of transcoders and of the maps beside them, against NumPy and the whole model run by hand."""

import numpy as np
import pytest
import torch
from support.pairs import harvest_places

from expander_theory import InvalidArgument, uniform_mask
from sae_bridge.models.language_models import load_language_model
from sae_bridge.transcoders import (
    PairedStore,
    paired_store,
    refitted,
    transcoder,
    transcoder_map,
    transcoder_nulls,
    transcoder_rows,
)
from sae_bridge.transcoders._least_squares import Sums, best_fit, fit
from sae_bridge.transcoders.evaluation import PairedModel

K = 4
PLACES = ((1, "mlp_in"), (1, "mlp_out"))


@pytest.fixture(scope="module")
def pair(tiny_model_folder, text_folder, tmp_path_factory):
    model = load_language_model(str(tiny_model_folder))
    folder = harvest_places(model, text_folder, tmp_path_factory.mktemp("pair"), *PLACES)
    return model, paired_store(folder, *PLACES)


def drawn(count=200, width=6, out=5, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + 1
    return a, np.tanh(a @ rng.normal(size=(width, out))) + rng.normal(size=out)


def test_the_fit_is_that_of_the_normal_equations():
    a, y = drawn()
    sums = Sums(6, 5)
    for part in np.array_split(np.arange(len(a)), 7):
        sums.add(torch.from_numpy(a[part]), torch.from_numpy(y[part]))
    found = fit(sums, 0.01)
    centred = a - a.mean(axis=0)
    penalty = 0.01 * np.square(centred).sum() / 6
    expected = np.linalg.solve(centred.T @ centred + penalty * np.eye(6), centred.T @ (y - y.mean(axis=0)))
    np.testing.assert_allclose(found.matrix, expected, atol=1e-10)
    np.testing.assert_allclose(found.offset, y.mean(axis=0) - a.mean(axis=0) @ expected, atol=1e-10)
    missed = np.square(a @ found.matrix.numpy() + found.offset.numpy() - y).sum()
    assert found.error(sums) == pytest.approx(missed, rel=1e-8)


def test_a_fit_on_a_mask_is_that_of_each_output_on_its_own_features():
    a, y = drawn(width=8, out=5)
    mask = uniform_mask(5, 8, 2, seed=0)
    sums = Sums(8, 5)
    sums.add(torch.from_numpy(a), torch.from_numpy(y))
    found = fit(sums, 1e-9, mask).matrix.numpy()
    for row in range(5):
        own = np.nonzero((mask.rows == row).any(axis=1))[0]
        design = np.column_stack([a[:, own], np.ones(len(a))])
        best = np.linalg.lstsq(design, y[:, row], rcond=None)[0][:-1]
        np.testing.assert_allclose(found[own, row], best, atol=1e-6)
        assert not np.delete(found[:, row], own).any()


def test_the_ridge_is_chosen_by_what_was_held_back():
    rng = np.random.default_rng(1)
    a, y = rng.normal(size=(60, 30)), rng.normal(size=(60, 4))  # nothing to learn: the largest ridge is best
    parts = [(torch.from_numpy(p), torch.from_numpy(q)) for p, q in zip(np.split(a, 20), np.split(y, 20), strict=True)]
    sums = Sums(30, 4)
    for part in parts:
        sums.add(*part)
    assert best_fit(parts, 30, 4).matrix.norm() == pytest.approx(float(fit(sums, 1.0).matrix.norm()))
    exact = [(p, p @ torch.ones(30, 4, dtype=torch.float64)) for p, _ in parts]
    torch.testing.assert_close(best_fit(exact, 30, 4).matrix, torch.ones(30, 4, dtype=torch.float64), atol=1e-4, rtol=0)


def fvu(y, true):
    return float((y - true).double().square().sum() / (true - true.mean(dim=0)).double().square().sum())


def test_the_maps_that_learned_no_feature(pair):
    _, store = pair
    made = transcoder(32, 32, 48, K, mask=uniform_mask(32, 48, 6, seed=1))
    nulls = {null.kind: null for null in transcoder_nulls(store, K, [made])}
    assert list(nulls) == ["mean", "linear", "inputs", "untrained", "oracle"]
    train, rows = store.rows("train").double(), store.rows("held_out")
    x, y = train[:, :32], train[:, 32:]
    true, mean_in, mean_out = rows[:, 32:], x.mean(dim=0), y.mean(dim=0)
    torch.testing.assert_close(nulls["mean"].function(rows)[0], mean_out.float().expand(len(rows), -1))

    design = np.column_stack([x, np.ones(len(x))])
    best = np.linalg.lstsq(design, y.numpy(), rcond=None)[0]
    found, active = nulls["linear"].function(rows)
    assert active.sum() == 0
    direct = np.column_stack([rows[:, :32], np.ones(len(rows))]) @ best
    assert fvu(found, true) <= fvu(torch.from_numpy(direct), true) * 1.05
    assert nulls["linear"].storage.values == 33 * 32

    apart = true - mean_out
    kept = apart.abs() >= apart.abs().sort(dim=1, descending=True).values[:, K - 1 : K]
    expected = torch.where(kept, true, mean_out.float())
    torch.testing.assert_close(nulls["oracle"].function(rows)[0], expected, atol=1e-5, rtol=1e-5)

    def codes(h):
        apart = h - mean_in
        return torch.where(apart.abs() >= apart.abs().sort(dim=1, descending=True).values[:, K - 1 : K], apart, 0)

    found, active = nulls["inputs"].function(rows)
    assert set(active.tolist()) == {K}
    best = np.linalg.lstsq(np.column_stack([codes(x), np.ones(len(x))]), y.numpy(), rcond=None)[0]
    direct = np.column_stack([codes(rows[:, :32].double()), np.ones(len(rows))]) @ best
    assert fvu(found, true) <= fvu(torch.from_numpy(direct), true) * 1.05
    assert nulls["untrained"].storage == transcoder_map("it", made).storage
    scores = {kind: fvu(null.function(rows)[0], true) for kind, null in nulls.items()}
    assert scores["linear"] < scores["inputs"] < scores["mean"]
    assert scores["untrained"] < scores["mean"]


def test_a_refitted_decoder_is_better_than_any_other_on_the_training_text(pair):
    _, store = pair
    rows = store.rows("train")
    made = transcoder(32, 32, 48, K, mask=uniform_mask(32, 48, 6, seed=1))
    made.fit_input(rows)
    with torch.no_grad():
        before = fvu(made(rows[:, :32])[0], rows[:, 32:])
    refitted(made, store)
    with torch.no_grad():
        after = fvu(made(rows[:, :32])[0], rows[:, 32:])
        assert after < before
        for seed in range(3):
            made.weight.add_(1e-2 * torch.randn(48, 6, generator=torch.Generator().manual_seed(seed)))
            assert fvu(made(rows[:, :32])[0], rows[:, 32:]) > after
    with pytest.raises(InvalidArgument, match="must have neither"):
        refitted(transcoder(32, 32, 8, 2, skip=True), store)


def test_fidelity_against_the_whole_model_by_hand(pair):
    model, store = pair
    made = transcoder(32, 32, 48, K, skip=True, seed=2).eval()
    with torch.no_grad():
        made.skip.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
        made.fit_input(store.rows("train"))
    maps = [transcoder_map("it", made), *transcoder_nulls(store, K)]
    rows = {row.name: row for row in transcoder_rows(maps, store, model, progress=False)}
    assert len(rows) == 5
    ce, clean = [], []
    kept = store.kept("held_out")
    for ids, at in zip(store.tokens("held_out"), kept, strict=True):
        (layer, hook), (layer_out, hook_out) = PLACES
        with torch.no_grad():
            y = made(model.activations(ids[None], layer, hook)[0])[0]
            with model.intervene(layer_out, hook_out, lambda h, y=y, at=at: torch.where(at[None, :, None], y, h)):
                changed = model.model(ids[None]).logits[0].double().log_softmax(dim=-1)
            whole = model.model(ids[None]).logits[0].double().log_softmax(dim=-1)
        for place in torch.nonzero(at[:-1])[:, 0].tolist():
            ce.append(-float(changed[place, ids[place + 1]]))
            clean.append(-float(whole[place, ids[place + 1]]))
    found = rows["it"].fidelity
    assert found["ce"] == pytest.approx(np.mean(ce), rel=1e-5)
    assert found["ce_clean"] == pytest.approx(np.mean(clean), rel=1e-5)
    assert abs(np.mean(ce) - np.mean(clean)) > 1e-3
    assert found["predictions"] == len(ce)
    of_mean = rows["mean output"].fidelity
    assert of_mean["ce"] == pytest.approx(of_mean["ce_mean"], rel=1e-5)
    held_out = store.rows("held_out")
    with torch.no_grad():
        y, acts, _ = made(held_out[:, :32])
    assert rows["it"].fvu == pytest.approx(fvu(y, held_out[:, 32:]), rel=1e-5)
    assert rows["it"].l0 == pytest.approx(float((acts != 0).sum(dim=1).float().mean()))
    assert rows["it"].fvu_interval[0] < rows["it"].fvu < rows["it"].fvu_interval[1]
    only = transcoder_rows(maps[:1], store, progress=False)[0]
    assert (only.fidelity, only.fvu) == (None, rows["it"].fvu)


def test_the_identity_gives_everything_back(pair):
    """Outputs as inputs, all coordinates kept: nothing of the model changes."""
    model, store = pair
    same = PairedStore(store.outputs, store.outputs)
    nulls = {null.kind: null for null in transcoder_nulls(same, 32)}
    rows = {row.kind: row for row in transcoder_rows(list(nulls.values()), same, model, progress=False)}
    for kind in ("linear", "inputs", "oracle"):
        assert rows[kind].fvu < 1e-3  # the least ridge
        assert rows[kind].fidelity["recovered_zero"] == pytest.approx(1, abs=1e-2)
    assert rows["oracle"].fidelity["recovered_mean"] == pytest.approx(1, abs=1e-4)
    assert rows["mean"].fvu >= 1


def test_the_paired_model_gives_inputs_and_takes_outputs(pair):
    model, store = pair
    paired = PairedModel(model, store)
    ids = store.tokens("held_out")[:2]
    both = paired.activations(ids, *PLACES[1])
    assert torch.equal(both[..., :32], model.activations(ids, *PLACES[0]))
    assert torch.equal(both[..., 32:], model.activations(ids, *PLACES[1]))
    tilted = torch.cat([both[..., :32] + 7, both[..., 32:]], dim=-1)
    torch.testing.assert_close(paired.logits_from(ids, *PLACES[1], tilted), model.logits(ids), atol=1e-4, rtol=1e-4)


def test_maps_that_cannot_be_evaluated_are_refused(pair):
    _, store = pair
    with pytest.raises(InvalidArgument, match="k"):
        transcoder_nulls(store, 33)
    one = transcoder_map("it", transcoder(32, 32, 8, 2))
    with pytest.raises(InvalidArgument, match="different names"):
        transcoder_rows([one, one], store, progress=False)
    with pytest.raises(InvalidArgument, match="at least one"):
        transcoder_rows([], store, progress=False)
