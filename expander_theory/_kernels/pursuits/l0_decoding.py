"""The agreement decoder in floating point.

A column is updated by a value that many of its rows agree on: row i votes for x_j = r_i / w_ij, which is right where no
other column of the error meets the row. A round looks at all columns, O(n d^2): the d ratios are compared in pairs.

Every number carries its error scale, the sum of the moduli that went into it: ``scale`` of a residual entry, ``doubt``
of a coefficient. A residual entry is zero up to ``tolerance`` times its scale, and two ratios are equal if they differ
by at most ``tolerance`` times the sum of theirs.
"""

from typing import Any, NamedTuple

import numpy as np

from expander_theory._kernels.pursuits.atoms import (
    ITERATION_LIMIT,
    NO_UPDATE,
    RESIDUAL_SMALL,
    SPARSITY_REACHED,
    norm,
    residual_of,
    subtract,
)
from expander_theory._kernels.pursuits.select import k_largest
from expander_theory.base import njit


class Rule(NamedTuple):
    """What makes a column be updated: ``agreement`` equal ratios (``decrease``: net of zero rows), and the order."""

    agreement: int
    parallel: bool
    decrease: bool
    tolerance: float


class _State(NamedTuple):
    """The residual and its scale, the code and its doubt, the updates of a round, and room for one column."""

    residual: Any
    scale: Any
    x: Any
    doubt: Any
    queue: Any
    value: Any
    width: Any
    ratios: Any
    widths: Any


@njit(cache=True, nogil=True)
def l0_decoding(columns, h, k, rule, limit, found):
    """Decode every signal on masked columns; fills one row of ``found`` per signal."""
    (n, d), m = columns.rows.shape, h.shape[1]
    s = _State(
        np.empty(m, h.dtype), np.empty(m), np.empty(n, h.dtype), np.empty(n), np.empty(n, np.int64),
        np.empty(n, h.dtype), np.empty(n), np.empty(d, h.dtype), np.empty(d),
    )  # fmt: skip
    for b in range(h.shape[0]):
        signal, support, c = h[b], found.indices[b], found.coefficients[b]
        # At x = 0 the residual is the signal, an exact number: nothing has been added up yet.
        s.residual[:] = signal
        s.scale[:] = np.abs(signal)
        s.x[:] = 0
        s.doubt[:] = 0
        # Rounds, until the residual vanishes or no column passes the test.
        rounds, status = 0, ITERATION_LIMIT
        while rounds < limit and not _is_zero(s, rule.tolerance):
            if _round(columns, s, rule) == 0:
                status = NO_UPDATE
                break
            rounds += 1
        # The k largest entries become the code; what it leaves of the signal is computed anew.
        nonzero = _code(s, k, rule.tolerance, support, c)
        size = min(k, nonzero)
        left = residual_of(columns, signal, support, c, size, s.residual)
        if left <= rule.tolerance * norm(signal):
            status = RESIDUAL_SMALL
        elif nonzero > k:
            status = SPARSITY_REACHED
        found.steps[b] = size
        found.status[b] = status
        found.iterations[b] = rounds
        found.residuals[b] = left


@njit(cache=True, nogil=True)
def _is_zero(s, tolerance):
    nonzero = 0
    for i in range(s.residual.size):
        nonzero += abs(s.residual[i]) > tolerance * s.scale[i]
    return nonzero == 0


@njit(cache=True, nogil=True)
def _round(columns, s, rule):
    """Update every column that passes the test; returns how many did."""
    changed = 0
    for j in range(s.x.size):
        value, width, votes = _agreed(columns, s, j, rule)
        if votes >= rule.agreement:
            s.queue[changed], s.value[changed], s.width[changed] = j, value, width
            # Serial: later columns see the residual that this update leaves. Parallel: all see that of the start.
            if not rule.parallel:
                _apply(columns, s, changed)
            changed += 1
    if rule.parallel:
        for p in range(changed):
            _apply(columns, s, p)
    return changed


@njit(cache=True, nogil=True)
def _agreed(columns, s, j, rule):
    """The most frequent nonzero r_i/w_ij (of equally frequent ones that of the first row), its width, its votes."""
    rows, values = columns.rows[j], columns.values[j]
    # Rows whose residual is zero vote against any change; the others vote for a ratio.
    count, zeros = 0, 0
    for i in range(rows.size):
        r, scale = s.residual[rows[i]], s.scale[rows[i]]
        if abs(r) <= rule.tolerance * scale:
            zeros += 1
        elif values[i] != 0:
            s.ratios[count] = r / values[i]
            s.widths[count] = scale / abs(values[i])
            count += 1
    # Most votes win. Equality up to rounding is not transitive, so each ratio counts those equal to itself.
    most, first = 0, 0
    if count >= rule.agreement:
        for p in range(count):
            votes = 0
            for q in range(count):
                votes += _equal(s, p, q, rule.tolerance)
            if votes > most:
                most, first = votes, p
    best = first  # of the ratios that agree, the most accurate
    for q in range(count):
        if s.widths[q] < s.widths[best] and _equal(s, first, q, rule.tolerance):
            best = q
    return s.ratios[best], s.widths[best], most - zeros if rule.decrease else most


@njit(cache=True, nogil=True)
def _equal(s, p, q, tolerance):
    return abs(s.ratios[p] - s.ratios[q]) <= tolerance * (s.widths[p] + s.widths[q])


@njit(cache=True, nogil=True)
def _apply(columns, s, p):
    """x_j += value, and the error scales grow with it."""
    j = s.queue[p]
    s.x[j] += s.value[p]
    s.doubt[j] += s.width[p]
    subtract(columns, j, s.value[p], s.residual)
    for i in range(columns.rows.shape[1]):
        s.scale[columns.rows[j, i]] += s.width[p] * abs(columns.values[j, i])


@njit(cache=True, nogil=True)
def _code(s, k, tolerance, support, c):
    """Write the k largest |x_j| that are not zero up to their doubt, decreasing; returns the number of all."""
    # An entry that is zero up to its doubt was put in and taken out again.
    nonzero = 0
    for j in range(s.x.size):
        if abs(s.x[j]) <= tolerance * s.doubt[j]:
            s.x[j] = 0
        else:
            nonzero += 1
    picks, moduli = np.empty(k, np.int64), np.empty(k, s.x.dtype)
    k_largest(np.abs(s.x), picks, moduli)
    for t in range(min(k, nonzero)):
        support[t] = picks[t]
        c[t] = s.x[picks[t]]
    return nonzero
