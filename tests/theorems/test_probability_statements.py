"""Probabilities of random masks and the certified share against enumeration, and the statements by hand."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from support.cases.statement_cases import holds, refuted_by

from expander_theory import Dictionary, InvalidArgument, Mask
from expander_theory.theorems._statements import probability
from expander_theory.theorems._statements.probability import (
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
from expander_theory.theorems.case import Case


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
