"""OMP through the Gram matrix G = W^T W, for large d and dense dictionaries.

The correlations after t steps are a = a0 - G_S c, a0 = W^T h: n t multiply-adds, bound by the bandwidth of the cache.
Two bounds keep most of that away without changing a single choice. With M_i = max_{j != i} |G_ij|:

* correlations are screened with G rounded to half precision, which is wrong by at most ``_HALF`` sum_i |c_i| M_i,
  and summed in float32;
* while the coefficients move from c' to c, no correlation moves by more than sum_i |c_i - c'_i| M_i.

The few columns above a threshold are candidates. Exact correlations, from G itself, are computed for those of them that
the bounds leave a chance, and the best is the best of all columns if it beats threshold + bounds. If not, all are
screened anew.

A screening costs n t half-precision multiply-adds at vector speed, a step that needs none O(t) for each candidate with
a chance. G itself costs n^2 m once, its two copies 6 or 10 n^2 bytes.
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.linear.vectors import COMBINED, aligned, combine
from expander_theory._kernels.omp import pursuit as p
from expander_theory.base import njit

_HALF, _SINGLE = 2.0**-11, 2.0**-24
"""Relative rounding errors of half and single precision; numbers below 2^-14 have an absolute one of 2^-25 in half."""
_SHARE = 0.5
"""Columns above this share of the largest correlation are candidates."""


class Gram(NamedTuple):
    """G (n, n); its float16 bits, width padded; M (n,)."""

    products: Any
    halves: Any
    largest: Any


class Screen(NamedTuple):
    """Workspace: screened correlations, the same as integers, a0 in float32; coefficients and atoms when screened."""

    scores: Any
    bits: Any
    start: Any
    old: Any
    atoms: Any
    candidates: Any
    upper: Any
    lower: Any


def new_gram(columns: Any) -> Gram:
    """G of the columns (n, length), unit l2 norm, dense."""
    n = columns.shape[0]
    products = columns @ columns.T
    halves = np.zeros((n, -(-n // COMBINED) * COMBINED), np.float16)
    largest = np.empty(n)
    for first in range(0, n, COMBINED):
        block = products[first : first + COMBINED]
        halves[first : first + COMBINED, :n] = block
        moduli = np.abs(block)
        moduli[np.arange(len(block)), first + np.arange(len(block))] = 0
        largest[first : first + COMBINED] = moduli.max(axis=1)
    return Gram(products, halves.view(np.uint16), largest)


def new_screen(k: int, n: int, dtype: Any) -> Screen:
    """Workspace for sparsity up to k."""
    width = -(-n // COMBINED) * COMBINED
    scores = aligned(width, np.float32)
    start = aligned(width, np.float32)
    start[:] = 0
    factors = np.zeros((2, 1, k, k), dtype)
    lists = np.zeros(k, np.float32), np.zeros(k, np.int64), np.zeros(width, np.int32)
    return Screen(scores, scores.view(np.int32), start, *lists, *factors)


@njit(cache=True, nogil=True)
def omp_gram(rows, values, gram, correlations, signals, rule, found, screen, scratch, offset):
    """Fill rows offset, offset + 1, ... of ``found``, one per row of ``correlations`` (a0 of these signals).

    ``rows`` and ``values`` are as :func:`pursuit.inner` has them.
    """
    products, halves, largest = gram
    h, scales, ks, given, planted = signals
    tolerance, pivot, signed = rule
    indices, coefficients, steps, status, final, coefficient_path, residual_path = found
    scores, bits, start, old, atoms, candidates, upper, lower = screen
    g, v, u, _spread, _q, _touched, _stamp, own = scratch
    n = products.shape[0]
    cancelled = 100 * np.finfo(products.dtype).eps  # ||r||^2 below this share of ||h||^2 has lost its digits
    exact = np.empty(n, products.dtype)
    for place in range(correlations.shape[0]):
        # At c = 0 the correlations are a0. Their largest modulus bounds the rounding of a0 to float32.
        b = offset + place
        norm2 = p.load(h, scales, b, own, 0)
        peak = 0.0
        for j in range(n):
            start[j] = correlations[place, j]
            peak = max(peak, abs(start[j]))
        left2, size, threshold, screened = norm2, 0, np.inf, 0
        reason = p.state(tolerance, norm2, left2, 0, ks[b])
        while reason == p.RUNNING:
            # Select: the atom given for this step, or the best candidate, if the bounds prove it the best column.
            t = steps[b]
            forced = t < given.shape[1] and given[b, t] >= 0
            if forced:
                atom = np.int64(given[b, t])
            else:
                atom = np.int64(-1)
                if size:
                    late = _bound(largest, indices, coefficients, old, b, screened, t, 0.0)
                    early = _bound(largest, indices, coefficients, old, b, 0, screened, peak)
                    atom = _proved(
                        products, correlations, place, scores, candidates, size, threshold, early, late,
                        indices, coefficients, b, screened, t, signed,
                    )  # fmt: skip
                # No proof: screen all columns with the present coefficients and make the list anew.
                if atom < 0:
                    for l in range(t):
                        old[l], atoms[l] = coefficients[b, l], indices[b, l]
                    old[t:] = 0
                    screened = t
                    combine(halves, atoms, old, t, start, scores)
                    for l in range(t):  # only rounding is left of them
                        scores[atoms[l]] = 0
                    size, threshold = _list(scores, bits, candidates, signed)
                    early = _bound(largest, indices, coefficients, old, b, 0, t, peak)
                    atom = _proved(
                        products, correlations, place, scores, candidates, size, threshold, early, 0.0,
                        indices, coefficients, b, t, t, signed,
                    )  # fmt: skip
                # Still none: the best correlations are as small as the errors of the screen.
                if atom < 0:
                    atom = _scanned(products, correlations, place, indices, coefficients, b, t, signed, exact)
                    size = 0
            # <w, r> = a0 - <g, c>, with g = W_S^T w from row w of G.
            score = correlations[place, atom]
            for l in range(t):
                g[l] = products[atom, indices[b, l]]
                score -= g[l] * coefficients[b, l]
            if not forced and (score == 0 or (signed and score < 0)):
                reason = p.NO_CORRELATION
                break
            if planted.shape[1] and not p.holds(planted, b, planted.shape[1], atom):
                reason = p.FIRST_MISS
                break
            # Orthogonalise against the support: append to U, and move all coefficients.
            rho = p.extend(upper, lower, 0, t, products[atom, atom], pivot, g, v, u)
            if rho == 0:
                reason = p.DEPENDENT_ATOM
                break
            step = score / rho
            p.move(indices, coefficients, steps, b, atom, step, t, u)
            scores[atom] = 0  # so that it is no candidate any more
            if t + 1 == ks[b]:
                reason = p.SPARSITY_REACHED
                break
            # ||r||^2 falls by step^2 rho. The residual itself is formed only where its norm is asked for, or where this
            # difference has lost its digits or is near the tolerance.
            left2 -= float(step) * float(step) * float(rho)
            if residual_path.size or left2 < max(cancelled, 4 * tolerance * tolerance) * norm2:
                p.load(h, scales, b, own, 0)
                for l in range(t + 1):
                    p.subtract(rows, values, indices[b, l], coefficients[b, l], own, 0)
                left2 = p.norm_squared(own)
            p.record(coefficients, steps, coefficient_path, residual_path, b, left2)
            reason = p.state(tolerance, norm2, left2, t + 1, ks[b])
        p.finish(
            rows, values, h, scales, b, reason, tolerance, indices, coefficients, steps, status, final,
            coefficient_path, residual_path, own, upper, lower, 0, v, u,
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _bound(largest, indices, coefficients, old, b, first, last, peak):
    """By how much the atoms first, ..., last - 1 may have moved a correlation since it was screened, with rounding."""
    single = (last + 2) * _SINGLE  # a sum of last + 1 terms, and the rounding of the first of them
    total = single * peak
    for l in range(first, last):
        before = abs(float(old[l]))
        change = abs(float(coefficients[b, l]) - float(old[l]))
        total += (change + before * (_HALF + single)) * largest[indices[b, l]] + before * 2.0**-24
    return total


@njit(cache=True, nogil=True)
def _exact(products, correlations, place, indices, coefficients, b, t, j, signed):
    """The score of column j, from G itself."""
    total = correlations[place, j]
    for l in range(t):
        total -= coefficients[b, l] * products[j, indices[b, l]]
    return total if signed else abs(total)


@njit(cache=True, nogil=True)
def _proved(
    products, correlations, place, scores, candidates, size, threshold, early, late,
    indices, coefficients, b, screened, t, signed,
):  # fmt: skip
    """The best of all columns, if the candidates prove it; otherwise -1. The bounds are for atoms before and since."""
    # The largest screened score; where it belongs to a chosen atom, the list is of no use any more.
    first, height = -1, np.float32(-np.inf)
    for i in range(size):
        value = scores[candidates[i]] if signed else abs(scores[candidates[i]])
        if value > height:
            first, height = np.int64(candidates[i]), value
    if first < 0 or p.holds(indices, b, t, first):
        return np.int64(-1)
    # The candidate of the largest screened score goes first: with its true score known, few others have a chance.
    best, atom = _exact(products, correlations, place, indices, coefficients, b, t, first, signed), first
    for i in range(size):
        j = np.int64(candidates[i])
        # Passed over where even the most that the bounds allow is less than the best, first with the score as it was
        # screened, then with what the atoms chosen since have changed.
        value = scores[j]
        if (value if signed else abs(value)) + early + late < best or j == first or p.holds(indices, b, t, j):
            continue
        for l in range(screened, t):
            value -= coefficients[b, l] * products[indices[b, l], j]
        if (value if signed else abs(value)) + early < best:
            continue
        exact = _exact(products, correlations, place, indices, coefficients, b, t, j, signed)
        if exact > best or (exact == best and j < atom):
            best, atom = exact, j
    # Columns that are not listed were below the threshold, and may have risen by the bounds.
    return atom if best > threshold + early + late else -1


@njit(cache=True, nogil=True)
def _scanned(products, correlations, place, indices, coefficients, b, t, signed, exact):
    """The best of all columns without screening, for correlations as small as its rounding; ``exact`` is workspace."""
    # a0 - G_S c in full precision, a row of G an atom: n t multiply-adds.
    exact[:] = correlations[place]
    for l in range(t):
        c, row = coefficients[b, l], products[indices[b, l]]
        for j in range(exact.size):
            exact[j] -= c * row[j]
    best, atom = exact.dtype.type(-np.inf), np.int64(0)
    for j in range(exact.size):
        value = exact[j] if signed else abs(exact[j])
        if value > best and not p.holds(indices, b, t, j):
            best, atom = value, j
    return atom


@njit(cache=True, nogil=True)
def _list(scores, bits, candidates, signed):
    """Candidates in increasing order, and their threshold. Floats are compared as integers: see omp_push."""
    # The largest score; by magnitude the mask takes away the sign bit.
    mask = bits.dtype.type(-1 if signed else 0x7FFFFFFF)
    top = bits.dtype.type(0)
    for j in range(bits.size):
        top = max(top, bits[j] & mask)
    # The threshold as a float and, by a view of the same cell, as an integer.
    cell = np.zeros(1, np.int32)
    cell[0] = top
    threshold = cell.view(np.float32)[0] * np.float32(_SHARE)
    cell.view(np.float32)[0] = threshold
    least = cell[0]
    # Most blocks hold no candidate, which one vector comparison shows.
    size = 0
    for first in range(0, bits.size, COMBINED):
        above = False
        for j in range(first, first + COMBINED):
            above |= (bits[j] & mask) > least
        if above:
            for j in range(first, first + COMBINED):
                if (bits[j] & mask) > least:
                    candidates[size] = j
                    size += 1
    return size, threshold
