"""Planted codes: their supports, the signals they give, and how a solver's codes compare with them.

Each is one pass over what it reads: n d values, k d entries of a signal, or the k places of two codes.
"""

import numpy as np

from expander_theory.base import njit


@njit(cache=True)
def scale_to_unit(values):
    """Scale each row of ``values`` to unit l2 norm in place; squares must neither overflow nor vanish."""
    for j in range(values.shape[0]):
        total = 0.0
        for i in range(values.shape[1]):
            total += values[j, i] ** 2
        factor = 1 / np.sqrt(total)
        for i in range(values.shape[1]):
            values[j, i] *= factor


@njit(cache=True)
def combine(rows, values, supports, coefficients, out):
    """out[b] = sum_i coefficients[b, i] w_j, j = supports[b, i]; ``out`` starts at zero.

    ``values`` is (n, d) with ``rows`` (n, d), or (n, m) with empty ``rows`` for a dense dictionary.
    """
    batch, k = supports.shape
    for b in range(batch):
        for i in range(k):
            j = supports[b, i]
            coefficient = coefficients[b, i]
            if rows.size == 0:
                for row in range(values.shape[1]):
                    out[b, row] += coefficient * values[j, row]
            else:
                for t in range(rows.shape[1]):
                    out[b, rows[j, t]] += coefficient * values[j, t]


@njit(cache=True)
def compare(supports, planted, indices, found, place, limit, hits, errors):
    """hits[b]: planted atoms among ``indices[b]``; errors[b]: ||found - planted|| / ||planted||, at most ``limit``.

    ``place`` (n,) holds -1 everywhere, before and after; entries of ``indices`` below 0 are no atoms.
    """
    batch, k = supports.shape
    for b in range(batch):
        # Mark the planted atoms with their places in the code.
        for i in range(k):
            place[supports[b, i]] = i
        # Atoms that were found: a planted one is a hit, and its mark goes, so that an atom found twice counts once.
        norm2, error2, count = 0.0, 0.0, 0
        for t in range(indices.shape[1]):
            j = indices[b, t]
            if j < 0:
                continue
            wrong = np.float64(found[b, t])
            if place[j] >= 0:
                count += 1
                wrong -= planted[b, place[j]]
                place[j] = -1
            error2 += wrong**2
        # Marks that are left belong to planted atoms that were missed: their whole coefficient is an error.
        for i in range(k):
            norm2 += planted[b, i] ** 2
            if place[supports[b, i]] >= 0:
                error2 += planted[b, i] ** 2
                place[supports[b, i]] = -1
        hits[b] = count
        errors[b] = limit
        if error2 < limit**2 * norm2:  # False where it is NaN
            errors[b] = np.sqrt(error2 / norm2)


@njit(cache=True)
def conditional_bernoulli(rng, probabilities, order, out):
    """Each row of ``out`` (batch, k): the atoms that are on, given that exactly k are.

    Atom ``order[i]`` is on with ``probabilities[i]`` (decreasing, summing to k), independently; rounds without exactly
    k are rejected, so the law is exact, and at least one in about sqrt(2 pi k) is kept. A round costs O(k): it skips
    from i by a geometric step as if every later probability were ``bound`` = probabilities[i], and keeps the atom that
    it reaches with its own probability divided by the bound.
    """
    n, (batch, k) = probabilities.size, out.shape
    for b in range(batch):
        size = -1
        while size != k:
            size, i, bound = 0, 0, probabilities[0]
            while i < n and bound > 0:
                # Skip: the number of atoms passed over is geometric, with success probability ``bound``.
                if bound < 1:
                    step = np.log(1 - rng.random()) / np.log1p(-bound)
                    if step >= n - i:
                        break
                    i += int(step)
                # Thin: probabilities only fall, so keeping with probability p / bound gives each atom its own.
                if rng.random() * bound < probabilities[i]:
                    if size == k:  # one too many: the round is rejected
                        size += 1
                        break
                    out[b, size] = order[i]
                    size += 1
                bound = probabilities[i]
                i += 1
