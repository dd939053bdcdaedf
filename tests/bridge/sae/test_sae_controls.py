"""SAEs of control experiments: low rank, irregular masks, pruned decoders, several pursuit steps, OMP in the loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.streams import MemoryStream

from expander_theory import InvalidArgument, omp
from sae_bridge.codes.coder import Coder
from sae_bridge.interop._raw import in_raw_units
from sae_bridge.sae.loading import load_sae
from sae_bridge.sae.pruning import pruned
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE
from sae_bridge.training._constraints import irregular_places
from sae_bridge.training.recipe import Training
from sae_bridge.training.train import train

HOW = Training(d=4, n=64, k=4, steps=30, dead_after=1000)


def run(folder, how, steps=30):
    return train({".": replace(how, steps=steps)}, MemoryStream(), folder, progress=False)["."]


def fvu(sae, method="encoder"):
    h = MemoryStream().sample(4096)
    with torch.no_grad():
        error = h - sae.decode(*Coder(sae)(h, method))
    return float(error.square().sum() / (h - h.mean(dim=0)).square().sum())


def test_a_low_rank_decoder_has_that_rank_and_unit_columns(tmp_path):
    dense = run(tmp_path / "dense", replace(HOW, d=None), steps=150)
    low = run(tmp_path / "low", replace(HOW, d=None, rank=6), steps=150)
    assert np.linalg.matrix_rank(low.weight.detach().numpy(), tol=1e-3) == 6
    np.testing.assert_allclose(torch.linalg.vector_norm(low.weight, dim=1).detach(), 1, rtol=1e-5)
    assert fvu(dense) < fvu(low) < 1


def test_an_irregular_mask_keeps_the_places_that_its_seed_draws(tmp_path):
    how = replace(HOW, d=12, mean_degree=4.0)
    sae = run(tmp_path, how)
    kept = irregular_places(sae.m, 64, 12, 4.0, how.seed)
    assert bool(((sae.weight != 0) == kept).all())
    degrees = kept.sum(dim=1)
    assert 1 <= degrees.min() < degrees.max() <= 12
    assert abs(float(degrees.double().mean()) - 4) < 0.6
    assert sae.decoder_values == int(degrees.sum())
    assert load_sae(tmp_path)[0].decoder_values == sae.decoder_values


def test_degrees_follow_the_binomial_law():
    degrees = irregular_places(576, 20_000, 24, 8.0, 1).sum(dim=1).double()
    assert float(degrees.mean()) == pytest.approx(8, abs=0.1)
    assert float(degrees.var()) == pytest.approx(8 * (1 - 8 / 576), rel=0.05)


def test_pruning_keeps_the_largest_of_each_column_and_retuning_mends_what_it_broke(tmp_path):
    dense = run(tmp_path / "dense", replace(HOW, d=None), steps=150)
    sparse = pruned(dense, 6)
    whole, weight = dense.weight.detach(), sparse.weight.detach()
    for j in (0, 17, 63):
        rows = sorted(np.argsort(-np.abs(whole[j].numpy()))[:6])
        assert sparse.mask.rows[j].tolist() == rows
        np.testing.assert_allclose(weight[j], whole[j, rows] / torch.linalg.vector_norm(whole[j, rows]), rtol=1e-5)
    sparse.save(tmp_path / "pruned", {})
    retuned = run(tmp_path / "retuned", replace(HOW, d=6, start=tmp_path / "pruned"), steps=100)
    assert retuned.mask.sha256 == sparse.mask.sha256
    assert fvu(dense) < fvu(retuned) < fvu(sparse)
    with pytest.raises(InvalidArgument, match="must be dense"):
        pruned(sparse, 2)


def test_several_pursuit_steps_are_matching_pursuit_where_there_are_k(tmp_path):
    sae = run(tmp_path, replace(HOW, pursuit_steps=4))
    assert load_sae(tmp_path)[0].pursuit_steps == 4
    sae.b_enc.data.zero_()
    h = MemoryStream().sample(64)
    acts, indices = sae.encode(h)
    left = sae.centred(h).detach().numpy()
    w = sae.dictionary().to_dense()
    for step in range(4):
        scores = left @ w
        best = scores.argmax(axis=1)
        assert np.array_equal(indices[:, step].numpy(), best)
        value = np.maximum(scores[np.arange(64), best], 0)
        np.testing.assert_allclose(acts[:, step].detach(), value, atol=1e-4)
        left = left - value[:, None] * w[:, best].T
    with pytest.raises(InvalidArgument, match=r"pursuit_steps = 4.*must be 1"):
        in_raw_units(sae)


def test_more_pursuit_steps_fit_better(tmp_path):
    one, four = (run(tmp_path / str(steps), replace(HOW, pursuit_steps=steps), steps=200) for steps in (1, 4))
    assert fvu(four) < fvu(one)


def test_omp_in_the_loop_learns_a_better_dictionary_for_omp(tmp_path):
    plain = run(tmp_path / "plain", HOW, steps=300)
    looped = run(tmp_path / "looped", replace(HOW, encoder="omp", revival="none"), steps=300)
    assert fvu(looped) < fvu(plain, "omp")
    h = MemoryStream().sample(32)
    found = omp(looped.dictionary(), looped.centred(h).detach().double().numpy(), 4)
    _, indices = Coder(looped)(h, "omp")
    assert np.array_equal(np.sort(found.indices, axis=1), np.sort(indices.numpy(), axis=1))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"pursuit_steps": 3}, "pursuit_steps = 3: must divide k = 4"),
        ({"pursuit_steps": 2, "activation": "batch_topk"}, "and be 1 for batch_topk"),
        ({"rank": 2}, "rank = 2: must be at least 1, and None on a mask"),
        ({"rank": 40, "d": None}, "rank = 40: must be at most"),
        ({"mean_degree": 3.0, "d": None}, "mean_degree = 3.0"),
        ({"mean_degree": 5.0}, "mean_degree = 5.0: must be positive and at most d = 4"),
        ({"mean_degree": 3.0, "revival": "resample"}, "revival = 'resample': would break"),
        ({"encoder": "mp"}, "encoder = 'mp'"),
        ({"encoder": "omp", "selection": "signed"}, "selection = 'signed': must be 'magnitude'"),
        ({"encoder": "omp_nonnegative", "selection": "magnitude"}, "selection = 'magnitude': must be 'signed'"),
        ({"encoder": "omp", "activation": "batch_topk"}, "activation = 'batch_topk': must be 'topk'"),
        ({"encoder": "omp", "pursuit_steps": 2}, "pursuit_steps = 2: must be 1"),
    ],
)
def test_mistakes(tmp_path, wrong, says):
    with pytest.raises(InvalidArgument, match=says):
        run(tmp_path, replace(HOW, **wrong))


def test_recipes_without_the_newer_fields_are_known_as_before():
    assert not {"rank", "start", "pursuit_steps", "mean_degree"} & set(HOW.identity())
    assert replace(HOW, pursuit_steps=2).identity()["pursuit_steps"] == 2


def test_loaded_controls_are_ordinary_saes(tmp_path):
    run(tmp_path / "low", replace(HOW, d=None, rank=3))
    assert isinstance(load_sae(tmp_path / "low")[0], TopKSAE)
    run(tmp_path / "steps", replace(HOW, pursuit_steps=2))
    assert isinstance(load_sae(tmp_path / "steps")[0], ExpanderSAE)
