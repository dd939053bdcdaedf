"""Overlaps of supports, recomputed by integer sparse products: histograms, the largest pair, triangles."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import progress_bar

Ints = NDArray[np.integer[Any]]

_ENTRIES = 4_000_000  # of a sparse product that is held at one time


def adjacency(m: int, rows: Ints, entries: Ints | None = None) -> Any:
    """The (n, m) ``csr_array`` with ``entries`` (n, d) (default: ones) in the places ``rows`` (n, d); int32."""
    import scipy.sparse

    n, d = rows.shape
    data = np.ones(n * d, np.int32) if entries is None else entries.astype(np.int32).ravel()
    return scipy.sparse.csr_array((data, rows.ravel(), np.arange(0, n * d + 1, d)), shape=(n, m))


def products(columns: Any, *, progress: bool, what: str) -> Iterator[tuple[Ints, Ints, Ints]]:
    """The entries (j, l, p_jl), j != l, of ``columns @ columns.T`` that are stored, in slices of increasing j.

    Entries are at most d of ones or signs each, far inside int32.
    """
    n = columns.shape[0]
    transposed = columns.T.tocsr()
    meets = np.diff(transposed.indptr)[columns.indices].astype(np.int64).reshape(n, -1).sum(axis=1)
    step = max(1, _ENTRIES // min(n, int(meets.max())))
    with progress_bar(total=n, show=progress, desc=what, unit="column") as bar:
        for start in range(0, n, step):
            product = (columns[start : start + step] @ transposed).tocoo()
            j, l = product.row.astype(np.int64) + start, product.col.astype(np.int64)
            other = j != l
            yield j[other], l[other], product.data[other]
            bar.update(min(step, n - start))


def magnitudes(columns: Any, d: int, *, progress: bool) -> Ints:
    """[j, v]: the number of columns l != j with |p_jl| = v, for v = 0..d; (n, d + 1) int64."""
    n = columns.shape[0]
    counts = np.zeros((n, d + 1), np.int64)
    for j, _, p in products(columns, progress=progress, what="products of signs"):
        _count(counts, j, np.abs(p))
    return _with_zeros(counts)


def overlap_counts(m: int, rows: Ints, *, progress: bool) -> tuple[Ints, int, list[int] | None]:
    """[j, v]: how many columns share v rows with column j; the largest overlap; the first pair j < l that has it."""
    n, d = rows.shape
    counts = np.zeros((n, d + 1), np.int64)
    largest, pair = 0, [0, 1] if n > 1 else None
    for j, l, shared in products(adjacency(m, rows), progress=progress, what="overlaps"):
        _count(counts, j, shared)
        if len(shared) and shared.max() > largest:
            largest = int(shared.max())
            at = shared == largest  # symmetric, so the first row and its first column have j < l
            first = int(j[at].min())
            pair = [first, int(l[at & (j == first)].min())]
    return _with_zeros(counts), largest, pair


def sums_of_largest(counts: Ints, most: int) -> Ints:
    """[j, c]: sum of the c largest of n - 1 numbers of which ``counts[j, v]`` are v; c = 0..most <= n - 1; int64."""
    n, levels = counts.shape
    taken = np.minimum(np.cumsum(counts[:, ::-1], axis=1), most)
    repeats = np.diff(taken, axis=1, prepend=0)
    descending = np.repeat(np.tile(np.arange(levels - 1, -1, -1), n), repeats.ravel()).reshape(n, most)
    sums = np.zeros((n, most + 1), np.int64)
    np.cumsum(descending, axis=1, out=sums[:, 1:])
    return sums


def has_triangle(m: int, rows: Ints, *, progress: bool) -> bool:
    """Whether three columns meet pairwise in three different rows, where any two columns share at most one row.

    Let L be the columns that meet j. Two of them in a common row outside N(j) meet j in different rows (else they
    would share two), so they are a triangle with j; and every triangle is found so. Hence there is none through j
    iff the d - 1 further rows of the columns in L are all different.
    """
    n, d = rows.shape
    transposed = adjacency(m, rows).T.tocsr()
    start, through = transposed.indptr, transposed.indices
    for j in progress_bar(range(n), show=progress, desc="triangles", unit="column"):
        meets = np.concatenate([through[start[i] : start[i + 1]] for i in rows[j]])
        further = rows[meets[meets != j]].ravel()
        further = further[~np.isin(further, rows[j])]
        if len(further) > m - d or len(np.unique(further)) < len(further):
            return True
    return False


def _count(counts: Ints, columns: Ints, values: Ints) -> None:
    if len(columns):
        low, high = int(columns[0]), int(columns.max()) + 1
        levels = counts.shape[1]
        found = np.bincount((columns - low) * levels + values, minlength=(high - low) * levels)
        counts[low:high] += found.reshape(high - low, levels)


def _with_zeros(counts: Ints) -> Ints:
    counts[:, 0] = counts.shape[0] - 1 - counts[:, 1:].sum(axis=1)  # pairs that are not stored, and stored zeros
    return counts
