"""Numba loops of :mod:`sae_bridge.kernels.cpu` after the encoder; they release the interpreter lock.

Rows come as uint32 and indices as uint64: numba then leaves out its test for negative indices. A zero in ``acts`` is
padding.

A token costs k times the entries of a column (d, or m dense), each a scattered or a contiguous multiply-add.
"""

from expander_theory.base import njit


@njit(cache=True, nogil=True)
def combine_masked(acts, indices, weight, rows, out):
    """Each token's reconstruction: the chosen columns times their acts, added to the d rows that they meet."""
    for b in range(acts.shape[0]):
        out[b, :] = 0
        for t in range(acts.shape[1]):
            a, j = acts[b, t], indices[b, t]
            if a != 0:
                for i in range(rows.shape[1]):
                    out[b, rows[j, i]] += a * weight[j, i]


@njit(cache=True, nogil=True)
def combine_dense(acts, indices, weight, out):
    """Each token's reconstruction: the chosen columns times their acts, one whole row of ``out`` after another."""
    for b in range(acts.shape[0]):
        out[b, :] = 0
        for t in range(acts.shape[1]):
            a, j = acts[b, t], indices[b, t]
            if a != 0:
                for i in range(out.shape[1]):
                    out[b, i] += a * weight[j, i]


@njit(cache=True, nogil=True)
def pull_masked(g, indices, weight, rows, out):
    """The inner product of each token's g with its chosen columns, gathered from the d rows that they meet."""
    for b in range(indices.shape[0]):
        for t in range(indices.shape[1]):
            j = indices[b, t]
            total = g.dtype.type(0)
            for i in range(rows.shape[1]):
                total += weight[j, i] * g[b, rows[j, i]]
            out[b, t] = total


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def pull_dense(g, indices, weight, out):
    """The inner product of each token's g with its chosen columns; sums may be reordered, so as to use vectors."""
    for b in range(indices.shape[0]):
        for t in range(indices.shape[1]):
            j = indices[b, t]
            total = g.dtype.type(0)
            for i in range(g.shape[1]):
                total += weight[j, i] * g[b, i]
            out[b, t] = total


@njit(cache=True, nogil=True)
def accumulate_masked(acts, indices, g, rows, out):
    """The gradient of the weights: each token adds act times g, at the rows that the column meets, to its columns."""
    for b in range(acts.shape[0]):
        for t in range(acts.shape[1]):
            a, j = acts[b, t], indices[b, t]
            if a != 0:
                for i in range(rows.shape[1]):
                    out[j, i] += a * g[b, rows[j, i]]


@njit(cache=True, nogil=True)
def accumulate_dense(acts, indices, g, first, stop, out):
    """The gradient of the weights, columns ``first`` to ``stop`` - 1 of ``out``.

    A slice of ``out`` would have strides, and no vector loads.
    """
    for b in range(acts.shape[0]):
        for t in range(acts.shape[1]):
            a, j = acts[b, t], indices[b, t]
            if a != 0:
                own, source = out[j, first:stop], g[b, first:stop]
                for i in range(own.shape[0]):
                    own[i] += a * source[i]


@njit(cache=True, nogil=True)
def missing(acts, order, starts, g, rows, column, best, gained):
    """For each column the rows off its support on which its gradient is largest, decreasing, the lower row first.

    ``order`` lists the pairs (token, place) by feature; those of column j begin at ``starts[j]``.
    """
    k, count = acts.shape[1], best.shape[1]
    for j in range(rows.shape[0]):
        column[:] = 0
        for p in range(starts[j], starts[j + 1]):
            b, t = order[p] // k, order[p] % k
            a = acts[b, t]
            if a != 0:
                for i in range(column.shape[0]):
                    column[i] += a * g[b, i]
        own = 0  # the next row of the support: they increase
        held = 0
        for i in range(column.shape[0]):
            if own < rows.shape[1] and rows[j, own] == i:
                own += 1
                continue
            size = abs(column[i])
            if held == count and size <= abs(gained[j, count - 1]):
                continue
            place = held if held < count else count - 1
            while place > 0 and abs(gained[j, place - 1]) < size:
                best[j, place], gained[j, place] = best[j, place - 1], gained[j, place - 1]
                place -= 1
            best[j, place], gained[j, place] = i, column[i]
            held = min(held + 1, count)
