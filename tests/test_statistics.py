import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from expander_theory import InvalidArgument
from expander_theory.statistics import fit_boundary, wilson_interval


@given(st.integers(1, 200), st.data())
def test_wilson_agrees_with_scipy(trials, data):
    successes = data.draw(st.integers(0, trials))
    low, high = wilson_interval(successes, trials)
    reference = binomtest(successes, trials).proportion_ci(0.95, "wilson")
    assert low == pytest.approx(reference.low, abs=1e-12)
    assert high == pytest.approx(reference.high, abs=1e-12)


def test_wilson_of_nothing_is_everything():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_is_not_conservative():
    """STAT-1: its least coverage is about 0.84, its mean about 0.95."""
    trials, counts = 50, np.arange(51)
    low, high = wilson_interval(counts, trials)
    grid = np.linspace(0.0005, 0.9995, 10_000)
    coverage = np.array([binom.pmf(counts[(low <= p) & (p <= high)], trials, p).sum() for p in grid])
    assert 0.83 < coverage.min() < 0.85
    assert 0.94 < coverage.mean() < 0.96


def test_the_boundary_of_a_logistic_truth_is_covered():
    rng = np.random.default_rng(0)
    t = np.linspace(0.05, 0.6, 12)
    covered = 0
    for _ in range(200):
        x = rng.binomial(50, 1 / (1 + np.exp(30 * (t - 0.31))))
        fit = fit_boundary(t, x, np.full(12, 50))
        assert fit.status == "fitted"
        covered += fit.low <= 0.31 <= fit.high
    assert covered >= 180


def test_complete_separation_has_a_finite_fit_between_the_cells():
    fit = fit_boundary([1, 2, 3, 4], [30, 30, 0, 0], [30] * 4)
    assert fit.status == "fitted"
    assert fit.centre == pytest.approx(2.5, abs=1e-6)
    assert 2 < fit.low < fit.high < 3
    assert np.isfinite(fit.slope)


def test_the_boundary_moves_with_the_unit():
    x, n = [40, 38, 20, 3, 0], [40] * 5
    a, b = fit_boundary([1, 2, 3, 4, 5], x, n), fit_boundary([0.1, 0.2, 0.3, 0.4, 0.5], x, n)
    assert (b.centre, b.low, b.high) == pytest.approx((a.centre / 10, a.low / 10, a.high / 10))


@pytest.mark.parametrize(("x", "status"), [([9, 10, 10], "all_succeed"), ([1, 0, 2], "all_fail")])
def test_one_sided_data_have_no_boundary(x, status):
    fit = fit_boundary([1, 2, 3], x, [10] * 3)
    assert fit.status == status
    assert np.isnan(fit.centre)


def test_bad_arguments_are_named():
    with pytest.raises(InvalidArgument, match="successes"):
        wilson_interval(3, 2)
    with pytest.raises(InvalidArgument, match="level"):
        wilson_interval(1, 2, level=1.0)
    with pytest.raises(InvalidArgument, match="coordinate"):
        fit_boundary([1, 1], [1, 1], [2, 2])
    with pytest.raises(InvalidArgument, match="successes"):
        fit_boundary([1, 2], [1, 3], [2, 2])
