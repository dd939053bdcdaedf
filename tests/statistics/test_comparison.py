import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.special import expit, gammaln, xlogy
from scipy.stats import binom, binomtest

from expander_theory import InvalidArgument
from expander_theory.statistics.comparison import compare_paired, sign_flip_p_value


def outcomes(both, first_only, second_only, neither):
    first = [True] * (both + first_only) + [False] * (second_only + neither)
    second = [True] * both + [False] * first_only + [True] * second_only + [False] * neither
    return first, second


def test_blocks_of_a_ledger_are_counted():
    found = compare_paired(["1101", "1111"], ["1100", "1010"])
    assert (found.trials, found.both, found.first_only, found.second_only) == (8, 4, 3, 0)
    assert found.difference == 3 / 8
    assert found.dictionaries == 8
    assert found == compare_paired([1, 1, 0, 1, 1, 1, 1, 1], [True, True, False, False, True, False, True, False])


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
def test_one_signal_a_dictionary_is_mcnemars_exact_test(first_only, second_only, agree):
    found = compare_paired(*outcomes(agree, first_only, second_only, 1))
    discordant = first_only + second_only
    expected = binomtest(first_only, discordant).pvalue if discordant else 1.0
    assert found.p_value == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
def test_the_sign_flip_law_is_that_of_all_signs(differences):
    sums = [np.dot(signs, differences) for signs in itertools.product([-1, 1], repeat=len(differences))]
    expected = np.mean(np.abs(sums) >= abs(sum(differences)))
    assert sign_flip_p_value(differences) == pytest.approx(expected)


def test_ten_thousand_pairs_are_exact_too():
    differences = np.repeat([1, -1], [5100, 4900])
    assert sign_flip_p_value(differences) == pytest.approx(binomtest(5100, 10_000).pvalue, rel=1e-6)


def test_sharing_a_dictionary_costs_significance():
    """Twenty-five wins on one dictionary are one win."""
    first, second = ["1" * 25, "0" * 25], ["0" * 25, "0" * 25]
    assert compare_paired(first, second).p_value < 1e-6
    shared = compare_paired(first, second, shared=25)
    assert shared.p_value == 1.0
    assert shared.dictionaries == 2
    assert shared.low < 0 < shared.high


@pytest.mark.parametrize("trials", [1, 2, 3, 5, 10, 20, 50, 120])
def test_the_interval_covers_for_all_rates_of_discordant_pairs(trials):
    """By enumeration of all counts: p the rate of first-only, q of second-only."""
    b, c = (v.ravel() for v in np.meshgrid(np.arange(trials + 1), np.arange(trials + 1), indexing="ij"))
    b, c = b[b + c <= trials], c[b + c <= trials]
    ends = np.array([_ends(x, y, trials) for x, y in zip(b, c, strict=True)])
    ways = gammaln(trials + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(trials - b - c + 1)
    rare = np.arange(0, 6, 0.25) / trials
    least = 1.0
    for p in np.unique(np.concatenate([rare, np.linspace(0.02, 1, 50)])):
        for q in np.unique(np.concatenate([rare[:9:2], [0.05, 0.1, 0.2, 0.3, 0.4, 0.49]])):
            if q <= p and p + q <= 1:
                law = np.exp(ways + xlogy(b, p) + xlogy(c, q) + xlogy(trials - b - c, max(0.0, 1 - p - q)))
                inside = (ends[:, 0] - 1e-12 <= p - q) & (p - q <= ends[:, 1] + 1e-12)
                least = min(least, float(law[inside].sum()))
    assert least > 0.94


def _ends(first_only, second_only, trials):
    found = compare_paired(*outcomes(0, first_only, second_only, trials - first_only - second_only))
    return found.low, found.high


def test_swapping_the_solvers_swaps_the_interval():
    first, second = outcomes(10, 7, 2, 30)
    one, other = compare_paired(first, second), compare_paired(second, first)
    assert (one.low, one.high, one.difference) == pytest.approx((-other.high, -other.low, -other.difference))
    assert one.p_value == other.p_value


def test_no_difference_at_all():
    found = compare_paired(*outcomes(50, 0, 0, 50))
    assert found.difference == 0
    assert found.low == pytest.approx(-found.high)
    assert 0 < found.high < 0.05
    assert found.p_value == 1


@pytest.mark.parametrize(("dictionaries", "tau"), [(8, 3.0), (30, 1.0)])
def test_the_clustered_test_and_interval_keep_their_level(dictionaries, tau):
    """Dictionaries on which both solvers fare alike in law but not in outcome; difference 0."""
    rng = np.random.default_rng(0)
    rejected = held = 0
    for _ in range(300):
        first, second = (rng.random((dictionaries, 10)) < expit(tau * rng.normal(size=(dictionaries, 1))) for _ in "ab")
        found = compare_paired(first, second, shared=10)
        rejected += found.p_value <= 0.05
        held += found.low <= 0 <= found.high
    assert rejected <= binom.ppf(0.999, 300, 0.05)
    assert held >= binom.ppf(0.001, 300, 0.95)


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [
        (([], []), {}, "first"),
        ((["11"], ["1"]), {}, "second"),
        ((["12"], ["11"]), {}, "first"),
        (([1, 0], [1, 2]), {}, "second"),
        ((["111"], ["111"]), {"shared": 2}, "shared"),
        ((["11"], ["11"]), {"shared": 0}, "shared"),
        ((["11"], ["11"]), {"level": 1.0}, "level"),
    ],
)
def test_bad_arguments_are_named(arguments, options, name):
    with pytest.raises(InvalidArgument) as caught:
        compare_paired(*arguments, **options)
    assert caught.value.name == name
    with pytest.raises(InvalidArgument, match="differences"):
        sign_flip_p_value([0.5])
