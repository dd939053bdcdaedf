import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from expander_theory import InvalidArgument, Mask, uniform_mask
from expander_theory.dictionaries.random_masks import (
    certified_sparsity,
    expansion_failure,
    hall_failure,
    stopping_set_failure,
)
from expander_theory.theorems._statements.probability import RandomMasks, stopping_term, union_bound
from expander_theory.theorems._subsets import Subsets


@pytest.mark.parametrize(("m", "n", "d", "s"), [(5, 4, 2, 3), (7, 6, 3, 4), (9, 5, 1, 5), (6, 6, 6, 3), (12, 8, 4, 6)])
@pytest.mark.parametrize("eps", [Fraction(1, 4), Fraction(1, 3), Fraction(1, 2)])
def test_the_log_domain_agrees_with_exact_fractions(m, n, d, s, eps):
    for strict in (False, True):
        exact = union_bound(RandomMasks(m, n, d, s, eps), reached=strict)
        assert math.isclose(expansion_failure(m, n, d, s, eps, strict=strict), min(1.0, float(exact)), rel_tol=1e-9)


def test_stopping_sets_agree_with_exact_fractions():
    for m, n, d, s in [(5, 4, 2, 3), (7, 6, 3, 4), (12, 8, 4, 5), (9, 5, 1, 5), (3, 6, 2, 5)]:
        exact = sum(math.comb(n, t) * stopping_term(m, d, t) for t in range(2, s + 1))
        assert math.isclose(stopping_set_failure(m, n, d, s), min(1.0, float(exact)), rel_tol=1e-9)


def test_bounds_are_above_the_frequencies_of_random_masks():
    m, n, d, s = 14, 6, 3, 4
    eps = Fraction(1, 3)
    found = {"expansion": 0, "hall": 0, "stopping": 0}
    trials = 2000
    for seed in range(trials):
        sub = Subsets(uniform_mask(m, n, d, seed=seed))
        small = (sub.size <= s) & (sub.size > 0)
        found["expansion"] += sub.eps(s) >= eps
        found["hall"] += bool((sub.neighbours < sub.size)[small].any())
        found["stopping"] += sub.stopping_distance <= s
    bounds = (expansion_failure(m, n, d, s, eps), hall_failure(m, n, d, s), stopping_set_failure(m, n, d, s))
    for count, bound in zip(found.values(), bounds, strict=True):
        assert count / trials <= bound + 4 * math.sqrt(max(bound, 1e-3) / trials)
    assert found["expansion"] / trials >= bounds[0] / 12  # a union bound over few sets is not far off


def test_the_last_size_alone_is_no_bound():
    """THEORY.md EXP-6, mutant: m = 60, n = 6, d = 3, s = 4, eps = 1/4: frequency about 0.100, last term 0.052."""
    whole = expansion_failure(60, 6, 3, 4, Fraction(1, 4), strict=False)
    smaller = expansion_failure(60, 6, 3, 3, Fraction(1, 4), strict=False)
    assert math.isclose(whole - smaller, 0.052, abs_tol=5e-4)
    assert whole > 0.1


@pytest.mark.parametrize(
    ("d", "n", "k"),
    [
        (7, 16384, (18, 67, 484, 14, 0)),
        (7, 32768, (13, 51, 417, 10, 0)),
        (7, 65536, (10, 39, 360, 7, 0)),
        (7, 131072, (8, 29, 311, 5, 0)),
        (16, 16384, (28, 80, None, 45, 2)),
        (16, 131072, (20, 57, None, 32, 1)),
        (32, 16384, (23, 60, None, 42, 3)),
        (32, 131072, (19, 50, None, 35, 2)),
        (64, 16384, (15, None, None, 29, 3)),
        (128, 16384, (9, None, None, 18, 2)),
    ],
)
def test_the_table_of_section_f(d, n, k):
    for condition, expected in zip(("identifiability", "stopping", "hall", "l0", "l1"), k, strict=True):
        if expected is not None:
            assert certified_sparsity(2048, n, d, condition) == expected, condition


def test_impossible_shapes():
    assert certified_sparsity(10, 50, 1, "l0") == 0
    assert certified_sparsity(4, 4, 4, "identifiability") == 0
    assert expansion_failure(4, 6, 4, 2, Fraction(1, 2)) == 1.0
    assert expansion_failure(10, 1, 3, 1, Fraction(1, 2)) == 0.0


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: expansion_failure(4, 6, 5, 2, Fraction(1, 2)), "d"),
        (lambda: expansion_failure(4, 6, 2, 7, Fraction(1, 2)), "s"),
        (lambda: expansion_failure(4, 6, 2, 2, Fraction(3, 2)), "eps"),
        (lambda: stopping_set_failure(4, 0, 2, 1), "n"),
        (lambda: certified_sparsity(4, 6, 2, "other"), "condition"),  # type: ignore[arg-type]
        (lambda: certified_sparsity(4, 6, 2, "l1", failure=0), "failure"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(InvalidArgument) as caught:
        call()
    assert caught.value.name == name


def test_all_masks_of_a_shape_against_the_bound():
    """Every mask with m = 4, d = 2, n = 3, exactly."""
    columns = list(itertools.combinations(range(4), 2))
    bad = [Subsets(Mask(4, np.array(c))).eps(3) >= Fraction(1, 3) for c in itertools.product(columns, repeat=3)]
    assert np.mean(bad) <= expansion_failure(4, 3, 2, 3, Fraction(1, 3))
