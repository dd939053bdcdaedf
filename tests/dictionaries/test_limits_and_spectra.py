import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from support.strategies import masks

from expander_theory import InvalidArgument, Mask, projective_plane_mask, uniform_mask
from expander_theory.dictionaries.limits import least_possible_eps, mask_eps_lower_bound, paper_eps_count
from expander_theory.dictionaries.spectral import spectral_neighbours
from expander_theory.theorems._subsets import Subsets


@given(masks(max_m=9, max_n=8), st.integers(1, 8))
def test_no_mask_is_below_its_limits(mask, s):
    s = min(s, mask.n)
    eps = Subsets(mask).eps_at(s)
    assert least_possible_eps(mask.m, mask.n, mask.d, s) <= eps
    assert mask_eps_lower_bound(mask, s) <= eps
    assert paper_eps_count(mask.m, mask.d, s) <= eps


def test_the_limit_is_attained():
    """Some mask with m = 4, n = 4, d = 2 (a 4-cycle) expands as well as any can."""
    cycle = Subsets(Mask.from_columns(4, [[0, 1], [1, 2], [2, 3], [3, 0]]))
    assert cycle.eps_at(4) == least_possible_eps(4, 4, 2, 4) == Fraction(1, 2)


def test_crossings_of_section_f():
    """eps_s < 1/2 needs s < 333 at (d, n) = (7, 16384), < 213 at (7, 131072); eps_s < 1/4 needs s < 97 and < 28."""
    for n, quarter, half in ((16384, 97, 333), (131072, 28, 213)):
        for threshold, s in ((Fraction(1, 4), quarter), (Fraction(1, 2), half)):
            assert least_possible_eps(2048, n, 7, s) >= threshold > least_possible_eps(2048, n, 7, s - 1)


@given(masks(max_m=9, max_n=8), st.integers(1, 8))
def test_spectral_bounds_hold(mask, s):
    s = min(s, mask.n)
    sub = Subsets(mask)
    fewest = int(sub.neighbours[sub.size == s].min())
    forms = "abc" if np.unique(mask.row_degrees).size == 1 else "ab"
    for form in forms:
        assert spectral_neighbours(mask, s, form=form) <= fewest * (1 + 1e-9)


@pytest.mark.parametrize("form", ["a", "b"])
def test_sparse_and_dense_eigenvalues_agree(monkeypatch, form):
    mask = uniform_mask(60, 150, 5, seed=0)
    dense = spectral_neighbours(mask, 10, form=form)
    monkeypatch.setattr("expander_theory.dictionaries.spectral._DENSE", 0)
    assert np.isclose(spectral_neighbours(mask, 10, form=form), dense, rtol=1e-6)


def test_tanner_is_exact_on_projective_planes():
    """PG(2, 3): B^T B = 3 I + J, so l2 = q; for all points the bound is attained: every line is met."""
    plane = projective_plane_mask(3)
    assert np.isclose(spectral_neighbours(plane, plane.n, form="c"), plane.m)
    for s in (2, 3):
        fewest = min(len(plane.neighbours(c)) for c in itertools.combinations(range(plane.n), s))
        assert fewest - 2 < spectral_neighbours(plane, s, form="c") <= fewest


def test_bad_arguments_are_named():
    mask = Mask(3, np.array([[0, 2], [1, 2], [0, 2]]))
    with pytest.raises(InvalidArgument, match="row degrees from 1 to 3"):
        spectral_neighbours(mask, 2, form="c")
    for call in (
        lambda: spectral_neighbours(mask, 4),
        lambda: spectral_neighbours(mask, 1, form="d"),  # type: ignore[arg-type]
        lambda: least_possible_eps(3, 2, 4, 1),
        lambda: mask_eps_lower_bound(mask, 0),
    ):
        with pytest.raises(InvalidArgument):
            call()
