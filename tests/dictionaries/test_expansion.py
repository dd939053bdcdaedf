from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from support import oracles
from support.strategies import masks

from expander_theory import InvalidArgument, Mask, expansion_profile, polynomial_mask, uniform_mask
from expander_theory.dictionaries.expansion import largest_losses
from expander_theory.dictionaries.geometry import column_overlaps


@given(masks(max_m=9, max_n=8))
@settings(max_examples=150)
def test_exact_expansion_agrees_with_enumeration(mask):
    profile = expansion_profile(mask, mask.n)
    for entry in profile.sizes:
        least = oracles.least_neighbours(mask.rows.tolist(), entry.size)
        assert entry.exact
        assert entry.upper == least == len(mask.neighbours(entry.witness))
        assert len(set(entry.witness)) == entry.size


@pytest.mark.parametrize("seed", range(12))
def test_exact_expansion_where_greedy_alone_can_fail(seed):
    mask = uniform_mask(10 + seed, 16, 3 + seed % 3, seed=seed)
    for entry in expansion_profile(mask, 6).sizes:
        assert entry.upper == entry.lower == oracles.least_neighbours(mask.rows.tolist(), entry.size)


@pytest.mark.parametrize("budget", [1, 7, 60])
def test_a_search_cut_into_pieces_finds_the_same(monkeypatch, budget):
    monkeypatch.setattr("expander_theory.dictionaries.expansion._BUDGET", budget)
    monkeypatch.setattr("expander_theory.dictionaries.expansion._GREEDY", 1)  # one root: the search has work to do
    for seed in range(6):
        mask = uniform_mask(9 + seed, 12, 3, seed=seed)
        for entry in expansion_profile(mask, 4).sizes:
            assert entry.upper == entry.lower == oracles.least_neighbours(mask.rows.tolist(), entry.size)
            assert len(mask.neighbours(entry.witness)) == entry.upper


def test_bounds_never_fall_below_those_of_smaller_sets():
    profile = expansion_profile(uniform_mask(256, 4096, 8, seed=0), 8, time_limit=0.3)
    lower = [entry.lower for entry in profile.sizes]
    assert lower == sorted(lower)


@given(masks(max_m=9, max_n=8))
def test_the_overlap_bounds_hold(mask):
    bounds = largest_losses(column_overlaps(mask), mask.n)
    for size in range(1, mask.n + 1):
        assert mask.d * size - oracles.least_neighbours(mask.rows.tolist(), size) <= bounds[size]


@given(masks(max_m=9, max_n=7))
def test_without_time_the_interval_still_holds(mask):
    for entry in expansion_profile(mask, mask.n, time_limit=0).sizes:
        least = oracles.least_neighbours(mask.rows.tolist(), entry.size)
        assert entry.lower <= least <= entry.upper
        assert len(mask.neighbours(entry.witness)) == entry.upper


def test_cumulative_ratio_is_over_all_sizes():
    """EXP-0: columns {1}, {1}, {0}: the worst size is 2, not 3."""
    profile = expansion_profile(Mask(2, np.array([[1], [1], [0]])), 3)
    assert profile.ratio_bounds(1) == (1, 1)
    assert profile.ratio_bounds(2) == (Fraction(1, 2),) * 2
    assert profile.ratio_bounds(3) == (Fraction(1, 2),) * 2
    assert Fraction(profile.sizes[2].upper, 3) == Fraction(2, 3)


def test_polynomial_masks_are_settled_by_their_overlap():
    """Overlap 1: two columns lose at most one row, and some pair does."""
    profile = expansion_profile(polynomial_mask(16, 6), 3, time_limit=0)
    assert [(e.lower, e.upper) for e in profile.sizes] == [(6, 6), (11, 11), (15, 15)]


def test_a_search_out_of_time_says_so():
    profile = expansion_profile(uniform_mask(200, 2000, 7, seed=0), 10, time_limit=0.2)
    assert not profile.sizes[-1].exact
    assert profile.sizes[-1].lower < profile.sizes[-1].upper
    assert profile.sizes[1].exact


@pytest.mark.parametrize(("size", "limit", "name"), [(0, 1, "max_size"), (6, 1, "max_size"), (2, -1, "time_limit")])
def test_bad_arguments_are_named(size, limit, name):
    with pytest.raises(InvalidArgument) as caught:
        expansion_profile(uniform_mask(6, 5, 2, seed=0), size, time_limit=limit)
    assert caught.value.name == name


@given(st.integers(1, 3))
@settings(max_examples=3)
def test_a_profile_bounds_its_own_sizes(size):
    profile = expansion_profile(uniform_mask(6, 5, 2, seed=0), size)
    with pytest.raises(InvalidArgument):
        profile.ratio_bounds(size + 1)
