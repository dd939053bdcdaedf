import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.optimize import brentq
from scipy.special import betaln, xlog1py, xlogy
from scipy.stats import binom

from expander_theory import InvalidArgument
from expander_theory.statistics.confidence_sequence import bounded_mean_sequence, confidence_sequence
from expander_theory.statistics.intervals import clopper_pearson_interval


def log_ratio(p, x, n):
    """Log likelihood ratio of the Beta(1/2, 1/2) mixture against p."""
    return betaln(x + 0.5, n - x + 0.5) - np.log(np.pi) - xlogy(x, p) - xlog1py(n - x, -p)


def excludes_half(x, n, level=0.95):
    """Whether the sequence leaves out 1/2, without finding its ends."""
    return log_ratio(0.5, x, n) >= -np.log(1 - level)


@given(st.integers(1, 3000), st.sampled_from([0.5, 0.95, 0.999]), st.data())
def test_the_ends_are_the_roots_of_the_mixture_ratio(trials, level, data):
    x = data.draw(st.integers(0, trials))
    low, high = confidence_sequence(x, trials, level=level)
    bound = -np.log(1 - level)
    if x > 0:
        assert low == pytest.approx(brentq(lambda p: log_ratio(p, x, trials) - bound, 1e-300, x / trials), abs=1e-10)
    else:
        assert low == 0
    if x < trials:
        root = brentq(lambda p: log_ratio(p, x, trials) - bound, x / trials, 1 - 1e-16)
        assert high == pytest.approx(root, abs=1e-10)
    else:
        assert high == 1


@given(st.integers(0, 400), st.data())
def test_excluding_one_half_is_what_the_interval_does(trials, data):
    x = data.draw(st.integers(0, trials))
    low, high = confidence_sequence(x, trials)
    assert excludes_half(x, trials) == bool(low > 0.5 or high < 0.5)


def test_it_broadcasts_and_nothing_is_everything():
    low, high = confidence_sequence([0, 5, 10], [0, 10, 10])
    assert (low[0], high[0], high[2]) == (0, 1, 1)
    assert low[1] == pytest.approx(1 - high[1])
    assert confidence_sequence(2, [4, 8, 16])[0].shape == (3,)


def test_huge_counts_are_no_problem():
    low, high = confidence_sequence([0, 10**8, 3 * 10**8], [10**9] * 3)
    assert (np.diff([low, high], axis=0) < 2e-4).all()
    assert ((low <= [0, 0.1, 0.3]) & (high >= [0, 0.1, 0.3])).all()


@pytest.mark.parametrize("p", [0.5, 0.1, 0.99])
def test_peeking_breaks_clopper_pearson_and_not_the_sequence(p):
    """A look every 25 trials up to 4,000. At p = 1/2 the peeked exact interval holds in 63 of 100 runs."""
    rng = np.random.default_rng(0)
    n = np.arange(25, 4001, 25)
    x = rng.binomial(25, p, size=(1500, n.size)).cumsum(axis=1)

    def always(interval):
        low, high = interval
        return ((low <= p) & (p <= high)).all(axis=1).mean()

    assert always(confidence_sequence(x, n)) >= 0.98  # stated: 0.95
    assert 0.55 < always(clopper_pearson_interval(x, n)) < 0.8


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_mixture_is_a_martingale_so_the_level_is_kept_exactly(level):
    """P(1/2 is left out within n trials), by recursion over all paths, stays below 1 - level and comes near it."""
    trials, law, left_out = 1500, np.ones(1), 0.0
    for n in range(1, trials + 1):
        law = (np.append(law, 0) + np.insert(law, 0, 0)) / 2
        out = excludes_half(np.arange(n + 1), n, level=level)
        left_out += law[out].sum()
        law[out] = 0
    assert left_out <= 1 - level
    assert left_out > 0.4 * (1 - level)


def capitals(x, m, bets):
    """The two capitals, one value at a time."""
    up = down = 1.0
    for value, bet in zip(x, bets, strict=True):
        up *= 1 + min(bet, 0.5 / m) * (value - m)
        down *= 1 - min(bet, 0.5 / (1 - m)) * (value - m)
    return up, down


def test_the_bounded_mean_interval_is_where_no_capital_is_large():
    x = np.random.default_rng(1).beta(2, 3, 60)
    low, high = bounded_mean_sequence(x)
    bets = []
    for t in range(1, 61):
        running = [(0.5 + x[:i].sum()) / (i + 1) for i in range(1, t)]
        variance = (0.25 + sum((x[i] - running[i]) ** 2 for i in range(t - 1))) / t
        bets.append(np.sqrt(2 * np.log(40) / (variance * t * np.log(1 + t))))
    for m in np.linspace(0.01, 0.99, 197):
        assert (max(capitals(x, m, bets)) < 40) == (low <= m <= high)


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.3), (5, 2), (0.1, 3)])
def test_the_bounded_mean_sequence_covers_at_all_looks(a, b):
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(150):
        x = rng.beta(a, b, 80)
        intervals = [bounded_mean_sequence(x[:n]) for n in range(4, 81, 4)]
        held += all(low <= a / (a + b) <= high for low, high in intervals)
    assert held >= binom.ppf(0.001, 150, 0.95)


def test_little_spread_makes_it_narrow():
    rng = np.random.default_rng(3)
    wide, narrow = (bounded_mean_sequence(rng.beta(a, a, 200)) for a in (0.3, 30))
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_one_bounded_value_says_little_and_none_nothing():
    assert bounded_mean_sequence([]) == (0, 1)
    low, high = bounded_mean_sequence([1.0])
    assert low < 0.1
    assert high == 1


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: confidence_sequence(3, 2), "successes"),
        (lambda: confidence_sequence(0.5, 2), "successes"),
        (lambda: confidence_sequence(1, np.nan), "successes"),
        (lambda: confidence_sequence(1, 2, level=1), "level"),
        (lambda: confidence_sequence(1, 2, level=0), "level"),
        (lambda: confidence_sequence(-1, 2), "successes"),
        (lambda: bounded_mean_sequence([0.2, 1.2]), "values"),
        (lambda: bounded_mean_sequence([np.nan]), "values"),
        (lambda: bounded_mean_sequence([0.5], level=1.5), "level"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(InvalidArgument) as caught:
        call()
    assert caught.value.name == name
