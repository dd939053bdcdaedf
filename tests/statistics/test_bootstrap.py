import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom, t

from expander_theory import InvalidArgument
from expander_theory.statistics.bootstrap import bootstrap_boundary, goodness_of_fit
from expander_theory.statistics.boundary import FirthFit, fit_boundary

GRID = np.linspace(0.05, 0.6, 12)


def clustered(rng, *, dictionaries, spread, slope=30.0, centre=0.3, signals=25):
    """Successes of dictionaries whose boundaries vary, one row a dictionary."""
    at = np.repeat(GRID, dictionaries)
    p = expit(slope * (centre + rng.normal(0, spread, at.size) - at))
    return at, rng.binomial(signals, p), np.full(at.size, signals)


def test_the_band_is_seeded_and_centred_on_the_fit():
    data = clustered(np.random.default_rng(0), dictionaries=8, spread=0.05)
    band = bootstrap_boundary(*data, seed=1)
    assert band == bootstrap_boundary(*data, seed=1)
    assert band != bootstrap_boundary(*data, seed=2)
    order = np.random.default_rng(1).permutation(data[0].size)
    plain = fit_boundary(*data)
    assert bootstrap_boundary(*(v[order] for v in data), seed=1).centre == pytest.approx(plain.centre)
    assert (band.status, band.centre, band.slope) == ("fitted", plain.centre, plain.slope)
    assert band.high - band.centre == pytest.approx(band.centre - band.low)


@pytest.mark.parametrize(("dictionaries", "spread"), [(5, 0.08), (12, 0.03)])
def test_the_band_covers_where_the_independent_interval_does_not(dictionaries, spread):
    rng, held, naive = np.random.default_rng(2), 0, 0
    for seed in range(200):
        centre = rng.uniform(0.25, 0.4)
        data = clustered(rng, dictionaries=dictionaries, spread=spread, centre=centre)
        band, plain = bootstrap_boundary(*data, seed=seed, replicates=199), fit_boundary(*data)
        held += band.low <= centre <= band.high
        naive += plain.low <= centre <= plain.high
    assert held >= binom.ppf(0.001, 200, 0.94)
    assert naive < 160


def test_the_width_is_that_of_the_influence_of_dictionaries():
    """Against the sandwich variance, by finite differences of the fit in the weight of each dictionary."""
    at, x, total = clustered(np.random.default_rng(3), dictionaries=6, spread=0.05)
    cells, cell = np.unique(at, return_inverse=True)

    def centre(weights):
        return FirthFit(cells, np.bincount(cell, weights * x), np.bincount(cell, weights * total)).centre

    one = np.ones(x.size)
    influence = np.array([(centre(one + 1e-4 * e) - centre(one - 1e-4 * e)) / 2e-4 for e in np.eye(x.size)])
    groups = influence.reshape(12, 6)
    v = ((groups - groups.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) * 6 / 5
    freedom = v.sum() ** 2 / (v**2 / 5).sum()
    expected = t.ppf(0.975, freedom) * np.sqrt(v.sum() * (freedom + 2) / freedom)
    band = bootstrap_boundary(at, x, total, seed=0, replicates=4000)
    assert band.high - band.centre == pytest.approx(expected, rel=0.1)


def test_it_is_never_less_than_the_interval_of_independent_trials():
    rng = np.random.default_rng(4)
    for seed in range(20):
        data = clustered(rng, dictionaries=6, spread=0.0)
        band, plain = bootstrap_boundary(*data, seed=seed, replicates=99), fit_boundary(*data)
        assert band.low <= plain.low
        assert band.high >= plain.high


def test_dictionaries_that_agree_leave_the_gap():
    at = np.repeat([0.1, 0.2, 0.3, 0.4], 5)
    x = np.where(at < 0.25, 20, 0)
    band = bootstrap_boundary(at, x, np.full(20, 20), seed=0)
    assert (band.low, band.high) == (0.2, 0.3)


@pytest.mark.parametrize("dictionaries", [1, 2, 4])
def test_too_few_dictionaries_are_refused(dictionaries):
    data = clustered(np.random.default_rng(5), dictionaries=dictionaries, spread=0.05)
    band = bootstrap_boundary(*data, seed=0)
    assert band.status == "too_few_dictionaries"
    assert np.isnan([band.centre, band.low, band.high]).all()


def test_statuses_without_a_boundary_pass_through():
    at = np.repeat([0.1, 0.2], 5)
    assert bootstrap_boundary(at, np.full(10, 9), np.full(10, 10), seed=0).status == "all_succeed"
    assert bootstrap_boundary(at, np.where(at < 0.15, 4, 7), np.full(10, 10), seed=0).status == "not_decreasing"


def test_a_nearly_flat_curve_leaves_the_band_open():
    """Many resampled fits do not even fall."""
    at = np.repeat([0.1, 0.2, 0.3, 0.4], 6)
    x = np.tile([9, 1, 8, 2, 6, 4], 4) + np.repeat([1, 0, 0, -1], 6)
    band = bootstrap_boundary(at, x, np.full(24, 10), seed=0)
    assert band.status == "fitted"
    assert (band.low, band.high) == (-np.inf, np.inf)


def test_the_logistic_form_is_not_rejected_too_often():
    rng, rejected = np.random.default_rng(7), 0
    for seed in range(150):
        x = rng.binomial(40, expit(40 * (0.3 - GRID)))
        rejected += goodness_of_fit(GRID, x, np.full(12, 40), seed=seed, replicates=199).p_value <= 0.05
    assert rejected <= binom.ppf(0.999, 150, 0.05)


def test_other_forms_are_rejected():
    """A rate that levels off at 0.85, and a curve of two slopes."""
    for rate in (
        0.85 * expit(40 * (0.3 - GRID)),
        np.where(GRID < 0.3, expit(100 * (0.3 - GRID)), expit(8 * (0.3 - GRID))),
    ):
        found = goodness_of_fit(GRID, np.round(400 * rate), np.full(12, 400), seed=0)
        assert found.p_value < 0.01
        assert found.degrees == 10


def test_the_deviance_is_that_of_the_definition():
    x, n = np.array([38, 30, 12, 0]), np.full(4, 40)
    found = goodness_of_fit([1, 2, 3, 4], x, n, seed=0)
    assert found == goodness_of_fit([1, 2, 3, 4], x, n, seed=0)
    fit = fit_boundary([1, 2, 3, 4], x, n)
    p = expit(fit.slope * (np.arange(1, 5) - fit.centre))
    terms = [a * np.log(a / (40 * b)) if a else 0.0 for a, b in zip([*x, *(n - x)], [*p, *(1 - p)], strict=True)]
    assert found.deviance == pytest.approx(2 * sum(terms))


def test_without_a_fit_there_is_no_test():
    assert goodness_of_fit([1, 2, 3], [9, 9, 9], [9] * 3, seed=0) is None
    assert goodness_of_fit([1, 2], [9, 1], [9] * 2, seed=0) is None
    separated = goodness_of_fit([1, 2, 3, 4], [9, 9, 0, 0], [9] * 4, seed=0)
    assert separated.p_value > 0.1


def test_bad_arguments_are_named():
    data = clustered(np.random.default_rng(8), dictionaries=5, spread=0.05)
    with pytest.raises(InvalidArgument, match="replicates"):
        bootstrap_boundary(*data, seed=0, replicates=50)
    with pytest.raises(InvalidArgument, match="level"):
        bootstrap_boundary(*data, seed=0, level=1.0)
    with pytest.raises(InvalidArgument, match="seed"):
        bootstrap_boundary(*data, seed=-1)
    with pytest.raises(InvalidArgument, match="replicates"):
        goodness_of_fit([1, 2, 3], [2, 1, 0], [2] * 3, seed=0, replicates=9)
    with pytest.raises(InvalidArgument, match="trials"):
        goodness_of_fit([1, 2, 3], [2, 1, 0], [2.5] * 3, seed=0)
    with pytest.raises(InvalidArgument, match="successes"):
        bootstrap_boundary(data[0], data[2] + 1, data[2], seed=0)
