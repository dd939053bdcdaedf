"""Sampling loops."""

from numba import njit


@njit(cache=True)
def floyd_subsets(rng, m, out):
    """Fill each row of ``out`` (n, d) with an independent uniform d-subset of 0..m-1, increasing.

    Floyd's algorithm: for t = m-d..m-1 draw u in 0..t; take u, or t where u is taken already.
    """
    n, d = out.shape
    for j in range(n):
        for size in range(d):
            t = m - d + size
            u = rng.integers(0, t + 1)
            place = size
            while place > 0 and out[j, place - 1] > u:
                place -= 1
            if place > 0 and out[j, place - 1] == u:
                out[j, size] = t  # t exceeds everything taken so far
            else:
                for shift in range(size, place, -1):
                    out[j, shift] = out[j, shift - 1]
                out[j, place] = u
