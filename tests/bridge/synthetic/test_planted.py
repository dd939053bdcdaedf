"""Activations with known features have the law that was asked for."""

import numpy as np
import pytest
import torch

from expander_theory import InvalidArgument
from sae_bridge.synthetic import SYNTH_SAE_BENCH, Hierarchy, LowRank, Planted, PlantedStream, RandomPairs, Sample

SMALL = Planted(m=12, n=30, l0=3.0)


def drawn(law, tokens=20_000):
    return law.build().draw(tokens, "test")


def test_the_activations_are_the_features_times_their_directions_plus_the_bias():
    features = SMALL.changed(bias=0.7).build()
    h, codes = features.draw(50, "test")
    np.testing.assert_allclose(h, codes @ features.directions + features.bias, atol=1e-5)
    assert np.linalg.norm(features.bias) == pytest.approx(0.7)
    assert (codes.data > 0).all()
    np.testing.assert_allclose(np.linalg.norm(features.directions, axis=1), 1)


def test_features_fire_at_their_rates_and_as_many_a_token_as_asked_for():
    features = SMALL.build()
    assert features.rates.sum() == pytest.approx(3.0)
    assert (np.diff(features.rates) <= 0).all()
    _, codes = features.draw(40_000, "test")
    found = np.asarray((codes != 0).sum(axis=0)).ravel() / 40_000
    error = np.sqrt(features.rates / 40_000)
    assert (np.abs(found - features.rates) < 5 * error).all()


@pytest.mark.parametrize("law", ["linear", "random", "constant", "zipf"])
def test_rates_lie_between_their_ends(law):
    rates = Planted(n=50, rates=law, most=0.3, least=0.01).build().rates
    assert rates.max() <= 0.3 + 1e-12
    assert rates.min() >= 0.01 - 1e-12
    assert law == "constant" or rates.std() > 0.01


def test_zipf_rates_are_those_of_synth_sae_bench():
    law = Planted(n=1000, zipf=0.5, most=0.4, least=5e-4)
    power = np.arange(1, 1001) ** -0.5
    wanted = 5e-4 + (0.4 - 5e-4) * (power - power[-1]) / (power[0] - power[-1])
    np.testing.assert_allclose(law.build().rates, wanted)
    assert SYNTH_SAE_BENCH.hierarchy.parents(SYNTH_SAE_BENCH.n).max() == 128 * 21 - 1  # 128 roots, branching 4, depth 3


def test_magnitudes_have_their_means_and_are_rectified():
    law = Planted(m=8, n=4, rates="constant", most=0.5, means=(3.0, 1.0), deviation=0.5)
    _, codes = drawn(law)
    means = np.asarray(codes.sum(axis=0)).ravel() / np.asarray((codes != 0).sum(axis=0)).ravel()
    np.testing.assert_allclose(means[:3], np.linspace(3, 1, 4)[:3], rtol=0.03)
    exponential = law.changed(mean_law="exponential").build().means
    np.testing.assert_allclose(exponential[1:] / exponential[:-1], 3 ** (-1 / 3))


def test_low_rank_and_pairwise_correlation_leave_the_rates_and_move_features_together():
    base = Planted(m=8, n=20, rates="constant", most=0.2)
    _, independent = drawn(base)
    for correlation in (LowRank(3, 0.5), RandomPairs(0.0, 1.0, 0.6, 0.8)):
        _, codes = drawn(base.changed(correlation=correlation))
        fired = (codes != 0).toarray()
        np.testing.assert_allclose(fired.mean(axis=0), 0.2, atol=0.02)

        def together(x):
            return np.abs(np.corrcoef(x.T) - np.eye(20)).max()

        assert together(fired) > 5 * together((independent != 0).toarray())


def test_a_child_fires_only_with_its_parent_and_exclusive_siblings_one_at_a_time():
    forest = Hierarchy(roots=2, branching=3, depth=2, scaled=False)
    law = Planted(m=16, n=40, most=0.5, least=0.05, hierarchy=forest)
    features = law.build()
    _, codes = features.draw(20_000, "test")
    fired = (codes != 0).toarray()
    parents = features.kin.parents
    assert (parents >= 0).sum() == 2 * (3 + 9)
    for child in np.flatnonzero(parents >= 0):
        assert not (fired[:, child] & ~fired[:, parents[child]]).any()
    for root in range(2):
        assert fired[:, parents == root].sum(axis=1).max() == 1
    kept = fired.mean(axis=0) / features.rates
    assert (kept[:2] > 0.95).all()
    plain = law.changed(hierarchy=Hierarchy(2, 3, 2, scaled=False, compensated=False))
    lost = (drawn(plain)[1] != 0).toarray().mean(axis=0) / features.rates
    assert (kept[2:8] > 1.5 * lost[2:8]).all()
    rare = law.changed(most=0.3, least=0.002, zipf=2.0)  # where first order is nearly all
    fired = (drawn(rare, 60_000)[1] != 0).toarray().mean(axis=0)
    np.testing.assert_allclose(fired[2:4] / rare.build().rates[2:4], 1, atol=0.15)


def test_children_are_scaled_by_their_parents():
    forest = Hierarchy(roots=1, branching=2, depth=1, exclusive=0.0, scaled=True, compensated=False)
    law = Planted(m=8, n=3, rates="constant", most=0.9, deviation=0.5, hierarchy=forest)
    _, codes = drawn(law)
    dense = codes.toarray()
    both = (dense[:, 0] > 0) & (dense[:, 1] > 0)
    assert np.corrcoef(dense[both, 0], dense[both, 1])[0, 1] > 0.5
    _, plain = drawn(law.changed(hierarchy=Hierarchy(1, 2, 1, 0.0, False, False)))
    dense = plain.toarray()
    both = (dense[:, 0] > 0) & (dense[:, 1] > 0)
    assert abs(np.corrcoef(dense[both, 0], dense[both, 1])[0, 1]) < 0.05


def test_sparse_and_block_features_lie_on_their_rows_also_when_they_are_pushed_apart():
    for structure, r in (("expander", 0), ("block", 5)):
        law = Planted(m=24, n=40, structure=structure, d=4, dense_columns=r, spread_steps=30)
        features = law.build()
        support = features.directions[r:] != 0
        assert (support.sum(axis=1) <= 4).all()
        rows = np.zeros_like(support)
        np.put_along_axis(rows, features.mask.rows.astype(int), True, axis=1)
        assert not (support & ~rows).any()
        np.testing.assert_allclose(features.dictionary().to_dense().T, features.directions)


def test_pushing_apart_lowers_the_interference():
    def interference(law):
        gram = law.build().directions @ law.build().directions.T
        return (gram**2).sum() - len(gram)

    least = 30 * (30 / 12 - 1)  # Welch's bound
    near, far = interference(SMALL.changed(spread_steps=200)), interference(SMALL)
    assert least <= near < least + 0.2 * (far - least)


def test_noise_and_background_have_their_norms():
    quiet = Planted(m=32, n=40, l0=3.0)
    features = quiet.build()
    h, codes = quiet.changed(noise=0.5).build().draw(4000, "test")
    rest = h - codes @ features.directions
    assert np.sqrt((rest**2).sum(axis=1).mean()) == pytest.approx(0.5, rel=0.05)
    h, codes = quiet.changed(background=0.8, background_rank=3).build().draw(4000, "test")
    rest = h - codes @ features.directions
    assert np.sqrt((rest**2).sum(axis=1).mean()) == pytest.approx(0.8, rel=0.05)
    assert np.linalg.matrix_rank(rest, tol=1e-2) == 3


def test_a_batch_depends_on_law_seed_and_step_alone():
    stream, again = PlantedStream(SMALL.build(), 16, 0), PlantedStream(SMALL.build(), 16, 0)
    later = again.batch(3)
    again.sample(5)
    assert torch.equal(stream.batch(3), later)
    assert not torch.equal(stream.batch(3), stream.batch(4))
    assert not torch.equal(stream.batch(3), PlantedStream(SMALL.build(), 16, 1).batch(3))
    assert stream.sha256 != PlantedStream(SMALL.changed(seed=1).build(), 16, 0).sha256
    assert torch.equal(stream.sample(1500)[:1024], again.sample(1024))
    held, thresholds = (Sample.drawn(SMALL.build(), 40, key) for key in ("held out", "thresholds"))
    assert not torch.equal(held.h, thresholds.h)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "n = 0"),
        ({"structure": "sparse"}, "structure = 'sparse'"),
        ({"structure": "expander", "d": 99}, "d = 99: must be at most m"),
        ({"dense_columns": 3}, "dense_columns = 3"),
        ({"structure": "block", "dense_columns": 30}, "between 1 and n - 1"),
        ({"most": 1.0}, "least"),
        ({"l0": 29.9}, "l0 = 29.9"),
        ({"noise": -1.0}, "noise = -1.0"),
        ({"means": (0.0, 1.0)}, "means"),
        ({"hierarchy": Hierarchy(30, 4, 2)}, "must have at most n = 30"),
        ({"background_rank": 13}, "background_rank = 13"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_law_that_cannot_be_is_refused(changes, message):
    with pytest.raises(InvalidArgument, match=message):
        SMALL.changed(**changes)


def test_bad_parts_of_a_law_are_refused():
    for make in (
        lambda: LowRank(0),
        lambda: LowRank(2, -1.0),
        lambda: RandomPairs(none=2.0),
        lambda: RandomPairs(least=0.9, most=0.5),
        lambda: Hierarchy(branching=1),
        lambda: Hierarchy(exclusive=1.5),
        lambda: PlantedStream(SMALL.build(), 0),
        lambda: PlantedStream(SMALL.build(), 4).batch(-1),
        lambda: PlantedStream(SMALL.build(), 4).sample(0),
    ):
        with pytest.raises(InvalidArgument):
            make()
