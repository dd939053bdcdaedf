"""Which exhaustive searches a certificate can afford: how many sets a checker will visit that repeats one.

To show that no set of t columns loses more than U, it enumerates, level by level, the sets of i columns that lose at
least L_i, where L_t = U + 1 and L_{i-1} = L_i - floor(2 L_i / i): the marginal losses in S sum to at most twice
the loss of S, so some member can be taken away at the price of floor(2 L_i / i).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expander_theory._kernels.expansion.certificates import grow_sets
from expander_theory._kernels.expansion.graph import Graph
from expander_theory.base import generator
from expander_theory.masks import Mask

_SAMPLE = 2000


def thresholds(size: int, loss: int) -> list[int]:
    """L_0, ..., L_size on the way to a set of ``size`` columns that loses at least ``loss``."""
    needed = [0] * (size + 1)
    needed[size] = loss
    for i in range(size, 1, -1):
        needed[i - 1] = needed[i] - 2 * needed[i] // i
    return needed


def sets_visited(mask: Mask, histogram: NDArray[np.int32], size: int, loss: int, enough: float) -> float:
    """About how many sets of 2, ..., ``size`` - 1 columns the search visits; at least ``enough`` if it gets there.

    Pairs are counted. From then on a sample of the sets of each size is grown by one column in all
    ways; a grown set counts in inverse proportion to the smaller ones that lead to it. The sample is
    drawn from a fixed seed: the same question has the same answer.

    Args:
        histogram: (n, d + 1), as :func:`expander_theory.dictionaries.column_overlaps` counts it.
        loss: at least 1.
    """
    needed = thresholds(size, loss)
    rng = generator(0, f"sets visited {size} {loss}")
    partners = histogram[:, needed[2] :].sum(axis=1, dtype=np.int64) if size > 2 else np.zeros(mask.n, np.int64)
    count = float(partners.sum()) / 2
    visited = count
    if count == 0 or visited >= enough:
        return visited
    graph, multiplicity = Graph(mask.rows, *mask.row_lists), np.zeros(mask.m, np.int32)
    # A uniform pair: a column in proportion to its partners, then one of these. A pair has weight 1/2 in grow_sets.
    starts = rng.choice(mask.n, _SAMPLE, p=partners / partners.sum()).astype(np.int32)[:, None]
    weights = partners[starts[:, 0]] / 2
    points = np.cumsum(weights) - weights * (1 - rng.random(_SAMPLE))
    sets, losses = np.empty((_SAMPLE, 2), np.int32), np.empty(_SAMPLE, np.int64)
    grow_sets(graph, multiplicity, starts, np.zeros(_SAMPLE, np.int64), 0, needed[2], points, sets, losses)
    for i in range(2, size - 1):
        grown, grown_losses = np.empty((_SAMPLE, i + 1), np.int32), np.empty(_SAMPLE, np.int64)
        step = (multiplicity, sets, losses, needed[i], needed[i + 1])
        weight = grow_sets(graph, *step, np.empty(0), grown, grown_losses)
        if weight == 0:
            break
        count *= weight / len(sets)
        visited += count
        if visited >= enough:
            break
        points = (np.arange(_SAMPLE) + rng.random()) * (weight / _SAMPLE)
        grow_sets(graph, *step, points, grown, grown_losses)
        sets, losses = grown, grown_losses
    return visited
