"""Coverage, clustered trials and reference curves against sums, and the statements by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import binom
from support.cases.statement_cases import COMPLETE_4, KNOWN, holds, refuted_by

from expander_theory import Dictionary, InvalidArgument, Mask
from expander_theory.statistics.intervals import clopper_pearson_interval, wilson_interval
from expander_theory.statistics.reference_curves import (
    omp_measurements,
    omp_sparsity,
    thresholding_measurements,
    weak_curve,
    weak_half_width,
    weak_sparsity,
    weak_threshold,
)
from expander_theory.theorems._statements import trials
from expander_theory.theorems._statements.curves import GaussianSizes, WeakPoint
from expander_theory.theorems._statements.trials import (
    Line,
    Separated,
    Trials,
    TwoLevels,
    centre_variance,
    coverage,
    rate_variance,
)
from expander_theory.theorems.case import Case


def test_coverage_of_one_trial():
    """N = 1: the intervals are [0, 0.975] and [0.025, 1]."""
    for p, expected in ((0.01, 0.99), (0.3, 1.0), (0.99, 0.99)):
        assert coverage(clopper_pearson_interval, Trials(1, p)) == pytest.approx(expected)


@given(st.integers(1, 30), st.integers(0, 100))
def test_coverage_is_a_sum_over_counts(N, hundredths):
    p, total = hundredths / 100, 0.0
    for x in range(N + 1):
        low, high = clopper_pearson_interval(x, N)
        total += binom.pmf(x, N, p) if low <= p <= high else 0
    assert coverage(clopper_pearson_interval, Trials(N, p)) == pytest.approx(total)
    assert total >= 0.95


def test_wilson_fails_where_the_catalogue_says():
    trials = Trials(50, 0.176 / 50)
    assert coverage(wilson_interval, trials) == pytest.approx(0.84, abs=0.01)
    refuted_by("STAT-1/Wilson", trials)
    holds("STAT-1", trials)


def test_signals_of_one_dictionary_count_once():
    """Two dictionaries that always or never succeed: the variance is that of two trials, however many signals."""
    for signals in (1, 3):
        q = TwoLevels(Fraction(0), Fraction(1), Fraction(1, 2), 2, signals)
        assert rate_variance(q) == Fraction(1, 8)
        holds("STAT-2", q)
    refuted_by("STAT-2/independent-signals", q)


def test_variance_of_the_centre_by_hand():
    line = Line(6.0, 2.0, 4.0, 1.0, 0.25)
    assert centre_variance(line) == (4 - 6 + 9 / 4) / 4
    holds("STAT-3", line)
    refuted_by("STAT-3/sign", line)


def test_separated_counts():
    holds("STAT-3f", Separated(3, 1, 7))
    refuted_by("STAT-3f/no-penalty", Separated(3, 1, 7))


def test_certified_then_erc_then_success():
    """The signed K_4 is dependent at 4, certified at 1, and its pairs split into ERC < 1 and not."""
    signs = np.ones((4, 3))
    for row in range(6):
        signs[COMPLETE_4.rows == row] = [1, -1]
    identity = Dictionary(Mask.from_columns(3, [[0], [1], [2]]), np.ones((3, 1)))
    assert trials._shares(Case(identity, 2, unit=True)) == (1, 1, 1)
    case = Case(Dictionary(COMPLETE_4, signs), 1, unit=True)
    assert trials._shares(case) == (1, 1, 1)
    assert trials._shares(Case(case.dictionary, 2, unit=True))[:2] == (0, 0)
    for k in (1, 2, 3):
        holds("STAT-4", Case(case.dictionary, k, unit=True))


@pytest.mark.parametrize(
    ("n", "signed", "nonnegative", "omp"),
    [(16384, 418, 540, 105), (32768, 336, 416, 98), (65536, 280, 336, 92), (131072, 240, 280, 87)],
)
def test_reference_sparsities_at_2048_rows(n, signed, nonnegative, omp):
    assert round(weak_sparsity(2048, n)) == signed
    assert round(weak_sparsity(2048, n, signed=False)) == nonnegative
    assert omp_sparsity(2048, n) == pytest.approx(omp, abs=0.6)  # the table truncates one and rounds the others
    for sign in (True, False):
        assert n * weak_threshold(weak_sparsity(2048, n, signed=sign) / n, signed=sign) == pytest.approx(2048)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("density", [0.001, 0.05, 0.4, 0.9])
def test_the_weak_threshold_is_a_minimum(signed, density):
    """The mean squared distance of a Gaussian vector to t times the subdifferential, integrated numerically."""
    g = np.linspace(-12, 12, 48_001)
    weight = np.exp(-(g**2) / 2) / np.sqrt(2 * np.pi) * (g[1] - g[0])
    size = np.abs(g) if signed else g
    beyond = [float(weight @ np.maximum(size - t, 0) ** 2) for t in np.linspace(0, 5, 251)]
    means = [density * (1 + t * t) + (1 - density) * b for t, b in zip(np.linspace(0, 5, 251), beyond, strict=True)]
    assert weak_threshold(density, signed=signed) == pytest.approx(min(means), rel=1e-3)
    assert weak_threshold(density, signed=signed) <= min(means) + 1e-9


def test_ends_of_the_weak_threshold():
    assert weak_threshold(0) == 0
    assert weak_threshold(1) == 1
    assert weak_sparsity(5, 5) == 5
    delta, rho = weak_curve([1e-6, 30.0])
    assert (delta[0], rho[0]) == pytest.approx((1, 1), abs=1e-5)
    assert 0 < rho[1] < 2e-3
    holds("REF-1", WeakPoint(1.0, True))
    refuted_by("REF-1/density", WeakPoint(1.0, True))
    assert weak_half_width(100, 0.04) == pytest.approx(math.sqrt(800 * math.log(100)))


def test_thresholding_pays_for_the_range():
    assert omp_measurements(10, 110) == pytest.approx(20 * math.log(100))
    assert thresholding_measurements(10, 20, 0.5) == pytest.approx(4 * omp_measurements(10, 20) / 0.5)  # k = n/2
    assert thresholding_measurements(1, 20, 0.5) == pytest.approx(omp_measurements(1, 20) / 0.5)  # ln 1 = 0
    for name in ("REF-2", "REF-3"):
        holds(name, GaussianSizes(64, 16384, 0.1))
    refuted_by("REF-3/any-k", GaussianSizes(15, 20, 1.0))
    refuted_by("REF-3/any-range", GaussianSizes(64, 16384, 0.1))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: weak_threshold(1.5), "density"),
        (lambda: weak_curve([1.0, 0.0]), "t"),
        (lambda: weak_sparsity(0, 5), "m"),
        (lambda: weak_half_width(10, 1.0), "failure"),
        (lambda: omp_measurements(5, 5), "k"),
        (lambda: omp_sparsity(5, 1), "n"),
        (lambda: thresholding_measurements(2, 5, 0), "power_ratio"),
    ],
)
def test_bad_arguments_of_the_curves_are_named(call, name):
    with pytest.raises(InvalidArgument, match=f"^{name} = "):
        call()


def test_every_statement_says_what_it_is():
    for statement in KNOWN.values():
        assert statement.text.endswith(".")
        assert statement.wrong or (statement.latex and statement.source and statement.check)
        assert KNOWN[statement.id] is statement
