"""Rows of `expander measure`: every bound of the expansion on its side of the exact value."""

import itertools

import numpy as np
import pytest
from support import oracles

from expander_theory import Mask, polynomial_mask, uniform_mask
from expander_theory.dictionaries import expansion_bounds

MASKS = [
    polynomial_mask(3, 3),
    polynomial_mask(5, 4, n=9),
    *[uniform_mask(9, 8, 3, seed=seed) for seed in range(6)],
    uniform_mask(6, 7, 6, seed=0),
    Mask(4, np.array([[0, 1], [0, 1], [2, 3], [2, 3]])),
    Mask(3, np.array([[1]])),
]


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: f"{mask.m}x{mask.n}, d = {mask.d}")
@pytest.mark.parametrize("time_limit", [10.0, 0.0])
def test_every_bound_is_on_its_side_of_the_least_share(mask, time_limit):
    rows = expansion_bounds(mask, min(4, mask.n), time_limit=time_limit)
    assert [row["size"] for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        size, edges = row["size"], mask.d * row["size"]
        least = oracles.least_neighbours(mask.rows.tolist(), size) / edges
        below, above = ("lower", "spectral"), ("upper", "attack", "this mask at most", "any mask at most")
        for name in below:
            assert row[name] <= least + 1e-9, (size, name)
        for name in above:
            assert row[name] >= least - 1e-9, (size, name)
        assert row["this mask at most"] <= row["any mask at most"] + 1e-9
        if time_limit and row["status"] == "exact":
            assert row["lower"] == pytest.approx(least)
            assert row["upper"] == pytest.approx(least)
        witness = [int(j) for j in row["witness"].split()]
        covered = len(set(itertools.chain.from_iterable(mask.rows[witness].tolist())))
        assert len(witness) == size
        assert row["upper"] == pytest.approx(covered / edges)
