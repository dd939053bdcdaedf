"""Decoders, probabilities and curves against brute force, and the statements on instances made by hand."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import binom
from support.strategies import masks

from expander_theory import Dictionary, InvalidArgument, Mask
from expander_theory.statistics.intervals import clopper_pearson_interval, wilson_interval
from expander_theory.statistics.reference_curves import (
    omp_measurements,
    omp_sparsity,
    peeling_step,
    peeling_threshold,
    thresholding_measurements,
    weak_curve,
    weak_half_width,
    weak_sparsity,
    weak_threshold,
)
from expander_theory.theorems.case import Case
from expander_theory.theorems.statements import curves, l0_decoding, probability, trials
from expander_theory.theorems.statements.curves import GaussianSizes, WeakPoint
from expander_theory.theorems.statements.decoders import agreement_decode, is_peelable
from expander_theory.theorems.statements.l0_decoding import Peeling
from expander_theory.theorems.statements.probability import (
    RandomMasks,
    SampledSupports,
    associated_stirling,
    certified_share,
    closed_forms,
    few,
    neighbour_distribution,
    neighbour_tail,
    stopping_term,
    union_bound,
)
from expander_theory.theorems.statements.trials import (
    Line,
    Separated,
    Trials,
    TwoLevels,
    centre_variance,
    coverage,
    rate_variance,
)

MODULES = (l0_decoding, probability, trials, curves)
KNOWN = {v.id: v for module in MODULES for s in module.STATEMENTS for v in (s, *s.mutants)}
FOUR_CYCLE = Mask.from_columns(4, [[0, 1], [2, 3], [0, 2], [1, 3]])
COMPLETE_4 = Mask.from_columns(6, [[0, 1, 2], [0, 3, 4], [1, 3, 5], [2, 4, 5]])


def ones(mask, code, k=None):
    code = np.array(code, float)
    return Case(Dictionary(mask, np.ones(mask.rows.shape)), k or int(np.count_nonzero(code)), code)


def holds(name, instance):
    found = KNOWN[name].evaluate(instance)
    assert found.met, (name, found)
    assert found.conclusion.met, (name, found)


def refuted_by(name, instance):
    assert KNOWN[name].wrong
    assert KNOWN[name].evaluate(instance).violated


def random_code(mask, data):
    """Random integers on the mask, a code, and its activation."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    values = [[Fraction(int(v)) for v in w] for w in rng.integers(1, 2**40, mask.rows.shape)]
    size = data.draw(st.integers(1, mask.n))
    code = [Fraction(0)] * mask.n
    for j in rng.permutation(mask.n)[:size]:
        code[j] = Fraction(int(rng.integers(1, 2**40)))
    h = [Fraction(0)] * mask.m
    for j, i in itertools.product(range(mask.n), range(mask.d)):
        h[mask.rows[j, i]] += values[j][i] * code[j]
    return values, code, h


# ---- section D


@given(masks(max_m=8, max_n=6), st.integers(1, 3))
def test_peelability_is_its_definition(mask, a):
    def has_free_column(subset):
        rows = [set(mask.rows[j].tolist()) for j in subset]
        others = [set().union(*rows[:i], *rows[i + 1 :]) for i in range(len(rows))]
        return any(len(own - other) >= a for own, other in zip(rows, others, strict=True))

    support = range(mask.n)
    subsets = itertools.chain.from_iterable(itertools.combinations(support, t) for t in range(1, mask.n + 1))
    assert is_peelable(mask, support, a) == all(has_free_column(s) for s in subsets)


@given(masks(max_m=8, max_n=6), st.booleans(), st.integers(1, 3), st.data())
def test_the_decoder_keeps_account(mask, parallel, a, data):
    """Its updates add up to its code, and it says solved iff the code explains the activation."""
    values, _, h = random_code(mask, data)
    found = agreement_decode(mask, values, h, a, parallel=parallel)
    total = [Fraction(0)] * mask.n
    for j, value in found.updates:
        total[j] += value
    assert tuple(total) == found.code
    explained = [Fraction(0)] * mask.m
    for j, i in itertools.product(range(mask.n), range(mask.d)):
        explained[mask.rows[j, i]] += values[j][i] * total[j]
    assert found.solved == (explained == h)
    assert found.rounds <= mask.n


@given(masks(max_m=10, max_n=6), st.booleans(), st.data())
def test_two_agreeing_rows_decode_exactly_the_peelable_supports(mask, parallel, data):
    values, code, h = random_code(mask, data)
    found = agreement_decode(mask, values, h, 2, parallel=parallel)
    support = [j for j, x in enumerate(code) if x]
    assert (list(found.code) == code) == is_peelable(mask, support)
    assert all(value == code[j] for j, value in found.updates)


def test_a_column_takes_the_value_of_most_rows_and_of_the_first_among_equals():
    mask = Mask.from_columns(5, [[0, 1, 2, 3, 4]])
    w = [[1, 1, 2, 2, 1]]
    assert agreement_decode(mask, w, [3, 7, 14, 14, 3], 3).updates == ((0, 7),)
    first = agreement_decode(mask, w, [3, 7, 14, 6, 0], 2)
    assert first.updates[0] == (0, 3)
    assert agreement_decode(mask, w, [3, 7, 14, 6, 0], 3).updates == ()
    assert agreement_decode(mask, w, [0, 0, 0, 4, 2], 2).updates[0] == (0, 2)
    assert agreement_decode(mask, w, [0, 0, 0, 4, 2], 1, test="decrease").updates == ()  # three zeros would be lost
    assert agreement_decode(mask, w, [2, 2, 4, 4, 0], 3, test="decrease").updates == ((0, 2),)


def test_serial_columns_see_what_the_one_before_left():
    """Rows {0}, {0}: in parallel both columns take the value, one after the other only the first."""
    mask = Mask.from_columns(1, [[0], [0]])
    assert agreement_decode(mask, [[1], [1]], [5], 1, parallel=True).updates[:2] == ((0, 5), (1, 5))
    assert agreement_decode(mask, [[1], [1]], [5], 1, parallel=False).updates == ((0, 5),)


def test_a_support_that_one_row_peels_and_two_do_not():
    mask = Mask.from_columns(3, [[0, 1], [1, 2]])
    assert is_peelable(mask, [0, 1], 1)
    assert not is_peelable(mask, [0, 1], 2)
    case = ones(mask, [1, 1])
    holds("L0-1", case)
    assert not KNOWN["L0-1s"].evaluate(case).met  # eps_2 = 1/4 = (1 - 1/2)/2
    refuted_by("L0-1s/half", case)


def test_one_row_is_no_proof():
    """Of two columns on one row, the one outside the support takes the value as well."""
    refuted_by("L0-1/one-row", ones(Mask.from_columns(2, [[0, 1], [1, 0]]), [1, 0]))
    holds("L0-1", ones(Mask.from_columns(3, [[0, 1], [1, 2]]), [1, 0]))


def test_the_agreement_decoder_on_the_complete_graph():
    """K_4: d = 3, o = 1, eps_2 = 1/6, so (1 - 2 eps_2) d = 2 > o and two rows must agree."""
    case = ones(COMPLETE_4, [0, 0, 1, 2])
    holds("L0-2", case)
    holds("L0-2q", case)
    assert KNOWN["L0-2"].hypotheses["(1 - 2 eps_k) d > o"](case).low == 1
    refuted_by("L0-2/any-code", ones(COMPLETE_4, [0, 0, 1, 1]))


def test_few_rows_agree_by_chance():
    """Two columns with one mask (eps_1 = 0 does not see them): the wrong one is updated too."""
    twins = Mask.from_columns(2, [[0, 1], [0, 1]])
    refuted_by("L0-2/a=1", ones(twins, [1, 0]))
    refuted_by("L0-2/a=2", ones(twins, [1, 0]))
    assert not KNOWN["L0-2q"].evaluate(ones(twins, [1, 0])).met  # it asks for eps_2


def test_equality_fails_for_the_test_by_decrease():
    """THEORY.md, care note of L0-2: the 4-cycle, S = {2, 3}, columns visited in order 0, 1, 2, 3."""
    case = ones(FOUR_CYCLE, [0, 0, 1, 2])
    assert case.eps(2).high == Fraction(1, 4)
    refuted_by("L0-2q/equality", case)
    assert not KNOWN["L0-2q"].evaluate(case).met


def test_dissociation_is_decided_exactly():
    condition = KNOWN["L0-2"].hypotheses["dissociated code"]
    assert condition(ones(COMPLETE_4, [1, 2, 4, 8])).low == 1
    assert not condition(ones(COMPLETE_4, [1, 2, 3, 0])).met
    assert not condition(ones(COMPLETE_4, [1, -1, 3, 0])).met
    assert condition(ones(COMPLETE_4, [2**-40, -1, 0, 0])).met


def test_other_values_are_none_of_the_flat_decoder():
    condition = KNOWN["L0-2"].hypotheses["one positive value"]
    for values in (np.array([[1.0, 2], [1, 1], [1, 1], [1, 1]]), -np.ones((4, 2))):
        assert not condition(Case(Dictionary(FOUR_CYCLE, values), 2)).met
    assert condition(Case(Dictionary(FOUR_CYCLE, np.full((4, 2), 0.5)), 2)).met


def test_bad_arguments_of_the_decoder_are_named():
    w = [[1, 1]] * 4
    for name, arguments in {
        "a": (w, [0] * 4, 0),
        "h": (w, [0] * 3, 1),
        "values": ([[1, 0]] * 4, [0] * 4, 1),
    }.items():
        with pytest.raises(InvalidArgument, match=name):
            agreement_decode(FOUR_CYCLE, *arguments)
    with pytest.raises(InvalidArgument, match="test"):
        agreement_decode(FOUR_CYCLE, w, [0] * 4, 1, test="other")  # type: ignore[arg-type]
    for support in ([0, 0], [4]):
        with pytest.raises(InvalidArgument, match="support"):
            is_peelable(FOUR_CYCLE, support)


@pytest.mark.parametrize(
    ("a", "table"),
    [
        (1, {3: 0.8185, 5: 0.7018, 7: 0.5818, 16: 0.3292}),
        (2, {4: 0.346, 5: 0.369, 6: 0.363, 7: 0.347, 8: 0.330, 16: 0.226, 32: 0.140}),
    ],
)
def test_peeling_thresholds_are_those_of_the_table(a, table):
    for d, threshold in table.items():
        assert peeling_threshold(d, a) == pytest.approx(threshold, abs=6e-5 if a == 1 else 6e-4)


@pytest.mark.parametrize(("d", "a"), [(2, 1), (3, 2), (3, 1), (7, 2), (32, 2), (6, 4)])
def test_density_evolution_changes_at_the_threshold(d, a):
    """Bisection on the load with the recursion itself."""
    low, high = 0.0, 1.0
    while high - low > 1e-3:
        load = (low + high) / 2
        p, last = 1.0, 2.0
        while p > 1e-3 and last - p > 1e-7:
            p, last = peeling_step(p, load, d, a), p
        low, high = (load, high) if p < 1e-3 else (low, load)
    assert peeling_threshold(d, a) == pytest.approx(low, abs=3e-3)


def test_one_step_of_density_evolution():
    assert peeling_step(0.5, 0.4, 7, 1) == pytest.approx((1 - math.exp(-1.4)) ** 6)
    assert peeling_step(0.0, 0.4, 7, 2) == 0


@pytest.mark.parametrize("arguments", [(1, 1), (3, 3), (3, 0)])
def test_a_threshold_needs_spare_rows(arguments):
    with pytest.raises(InvalidArgument, match=r"^[ad] = "):
        peeling_threshold(*arguments)


def test_simulated_supports_peel_below_the_threshold_and_not_above():
    holds("L0-3", Peeling(7, 2, 0))
    refuted_by("L0-3/2-core", Peeling(7, 2, 0))


# ---- EXP-6, EXP-6b


def all_masks(m, n, d):
    return itertools.product(list(itertools.combinations(range(m), d)), repeat=n)


@pytest.mark.parametrize(("m", "d", "t"), [(4, 2, 3), (5, 3, 2), (6, 1, 4), (3, 3, 2)])
def test_the_chain_is_the_distribution_of_the_union(m, d, t):
    sizes = [len(set().union(*mask)) for mask in all_masks(m, t, d)]
    for u, p in enumerate(neighbour_distribution(m, d, t)):
        assert p == Fraction(sizes.count(u), len(sizes))
    assert neighbour_tail(m, d, t, 3) == Fraction(sum(s <= 3 for s in sizes), len(sizes))
    assert neighbour_tail(m, d, t, -1) == 0


@pytest.mark.parametrize("eps", [Fraction(1, 4), Fraction(1, 3), Fraction(1, 2)])
def test_probabilities_of_small_models_are_counted_right(eps):
    m, n, d, s = 4, 3, 2, 3
    above = reached = stopped = total = 0
    for mask in all_masks(m, n, d):
        sets = [c for t in range(1, s + 1) for c in itertools.combinations(mask, t)]
        worst = max(1 - Fraction(len(set().union(*c)), d * len(c)) for c in sets)
        flat = [list(itertools.chain(*c)) for c in sets]
        stopped += any(all(rows.count(i) != 1 for i in range(m)) for rows in flat)
        above, reached, total = above + (worst > eps), reached + (worst >= eps), total + 1
    q = RandomMasks(m, n, d, s, eps)
    assert probability.expansion_failure_exactly(q) == Fraction(above, total)
    assert probability.expansion_failure_exactly(q, reached=True) == Fraction(reached, total)
    assert probability.stopping_set_exactly(q) == Fraction(stopped, total)
    assert union_bound(q) >= Fraction(above, total)


def test_too_many_masks_are_not_enumerated():
    with pytest.raises(InvalidArgument, match="masks"):
        probability.stopping_set_exactly(RandomMasks(20, 5, 3, 2))


def test_the_union_bound_of_two_columns_is_exact():
    q = RandomMasks(6, 2, 3, 2, Fraction(1, 3))
    assert union_bound(q) == probability.expansion_failure_exactly(q) == Fraction(1, 20)
    assert union_bound(q, reached=True) == Fraction(1 + 9, 20)
    holds("EXP-6", q)


def test_the_last_term_alone_is_no_bound():
    """THEORY.md EXP-6: m = 60, n = 6, d = 3, s = 4, eps = 1/4: frequency 0.100, term 0.052."""
    q = RandomMasks(60, 6, 3, 4, Fraction(1, 4))
    term = math.comb(6, 4) * neighbour_tail(60, 3, 4, few(q.eps, 3, 4))
    assert float(term) == pytest.approx(0.052, abs=5e-4)
    rng = np.random.default_rng(0)
    rows = rng.random((10_000, 6, 60)).argpartition(3, axis=2)[:, :, :3]
    met = np.zeros((10_000, 6, 60), bool)
    np.put_along_axis(met, rows, True, axis=2)
    fails = np.zeros(10_000, bool)
    for t in (2, 3, 4):
        for chosen in itertools.combinations(range(6), t):
            fails |= met[:, chosen].any(axis=1).sum(axis=1) <= few(q.eps, 3, t)
    assert fails.mean() == pytest.approx(0.100, abs=0.01)
    assert float(term) < fails.mean() - 0.03
    assert float(union_bound(q)) >= fails.mean() - 0.005


def test_the_last_term_alone_fails_on_an_enumerated_model():
    refuted_by("EXP-6/last-size", RandomMasks(3, 3, 1, 3, Fraction(1, 3)))


def test_closed_forms_bound_the_tail():
    for u in range(0, 13):
        tail = neighbour_tail(8, 3, 4, u)
        assert all(bound >= tail for bound in closed_forms(8, 3, 4, u))
    assert closed_forms(8, 3, 4, -1) == [0]
    inside, cruder, balls, binomial = closed_forms(8, 3, 2, 3)
    assert (inside, cruder) == (Fraction(56, 56**2), 56 * Fraction(3, 8) ** 6)
    assert balls == sum(neighbour_distribution(8, 1, 6)[:4])
    assert binomial == Fraction(1, 8)  # all three edges of the second column on rows of the first, 3/6 each


def test_associated_stirling_numbers_count_partitions():
    def partitions(items):
        if not items:
            yield []
            return
        for part in partitions(items[1:]):
            yield [[items[0]], *part]
            for i in range(len(part)):
                yield [*part[:i], [items[0], *part[i]], *part[i + 1 :]]

    for balls in range(7):
        found = [p for p in partitions(list(range(balls))) if all(len(cell) >= 2 for cell in p)]
        for cells in range(5):
            assert associated_stirling(balls, cells) == sum(len(p) == cells for p in found)


def test_the_stopping_term_counts_balls():
    m, d, t = 3, 2, 2
    throws = list(itertools.product(range(m), repeat=d * t))
    good = sum(all(throw.count(i) != 1 for i in range(m)) for throw in throws)
    assert stopping_term(m, d, t, conditioned=False) == Fraction(good, len(throws))
    assert stopping_term(m, d, t) == Fraction(good, len(throws)) / Fraction(2, 3) ** 2
    holds("EXP-6b", RandomMasks(4, 3, 2, 3))
    refuted_by("EXP-6b/no-conditioning", RandomMasks(2, 2, 2, 2))


def test_sampling_misses_the_one_bad_set():
    """Of twelve columns only two meet, and 64 samples miss the pair (their draw depends on the mask alone)."""
    rows = [[2 * j, 2 * j + 1] for j in range(12)]
    rows[11] = [0, 1]
    mask = Mask.from_columns(24, rows)
    refuted_by("EXP-6/sampled-sets", Case(Dictionary(mask, np.ones((12, 2))), 2))


# ---- AVG-2


def test_the_certified_share_is_counted_over_all_supports():
    """Two equal columns and an orthogonal one: of the three pairs only the equal one is dependent, and the other
    two have ERC = 1 through the copy."""
    mask = Mask.from_columns(2, [[0], [0], [1]])
    case = Case(Dictionary(mask, np.ones((3, 1))), 1, unit=True)
    assert certified_share(case) == Fraction(1, 3)
    assert certified_share(Case(case.dictionary, 2, unit=True)) == 0
    holds("AVG-2", SampledSupports(case, 20, 0.95))
    # P(share of one sample > 1/3) = 1/3: what is observed is no certificate
    refuted_by("AVG-2/observed-share", SampledSupports(case, 1, 0.95))


# ---- STAT


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


# ---- REF


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
