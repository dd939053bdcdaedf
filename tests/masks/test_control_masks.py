"""Masks for controls: each lacks what it is meant to lack, and keeps its size and degree."""

import numpy as np
import pytest

from expander_theory import InvalidArgument
from expander_theory.dictionaries.expansion import expansion_profile
from expander_theory.masks import clustered_mask, contiguous_mask, repeated_mask, uniform_mask


def supports(mask):
    return {tuple(row) for row in mask.rows.tolist()}


def test_clustered_columns_lie_on_disjoint_blocks():
    mask = clustered_mask(30, 200, 4, seed=1)
    blocks = supports(mask)
    assert len(blocks) == 7
    assert sorted(row for block in blocks for row in block) == list(range(28))
    assert (np.bincount(mask.rows[:, 0] // 4, minlength=7) > 10).all()
    assert expansion_profile(mask, 2).ratio_bounds(2)[1] == 1 / 2


def test_repeated_supports_are_as_many_as_asked():
    mask = repeated_mask(40, 100, 5, supports=9, seed=2)
    assert len(supports(mask)) == 9
    assert np.array_equal(mask.rows[:9], uniform_mask(40, 9, 5, seed=2).rows)
    assert np.array_equal(mask.rows[9:18], mask.rows[:9])


def test_contiguous_supports_are_windows_around_a_circle():
    mask = contiguous_mask(20, 300, 6, seed=3)
    for rows in mask.rows:
        gaps = np.diff(np.append(rows, rows[0] + 20))
        assert sorted(gaps) == [1] * 5 + [15]
    assert len(supports(mask)) == 20


@pytest.mark.parametrize(
    "make", [clustered_mask, contiguous_mask, lambda *a, seed: repeated_mask(*a, supports=3, seed=seed)]
)
def test_seeds_decide_and_sizes_are_checked(make):
    first = make(24, 50, 4, seed=5)
    assert (first.m, first.n, first.d) == (24, 50, 4)
    assert first.sha256 == make(24, 50, 4, seed=5).sha256 != make(24, 50, 4, seed=6).sha256
    assert "seed=5" in first.recipe
    with pytest.raises(InvalidArgument, match="d = 25"):
        make(24, 50, 25, seed=0)


def test_supports_out_of_range():
    for count in (0, 51):
        with pytest.raises(InvalidArgument, match=f"supports = {count}"):
            repeated_mask(24, 50, 4, supports=count, seed=0)
