"""Whether the tied TopK encoder is right for every code of one support and dynamic range: a loop over pairs."""

import numpy as np

from expander_theory.base import njit


@njit(cache=True, nogil=True)
def least_slack(products, support, p, q, slacks):
    """slacks[j] = min over i in the support and signs t of q (N_i - t G_ij) - p sum_{l in S, l != i} |G_il - t G_jl|.

    ``products`` (n, k) holds G_jl for columns j and l in the support; the dynamic range is p/q. Columns of the support
    get infinity.
    """
    n, k = products.shape
    # Columns that meet none of the support, most of those of a sparse mask, have one slack.
    base = np.inf
    for i in range(k):
        own, total = products[support[i]], 0.0
        for l in range(k):
            if l != i:
                total += abs(own[l])
        base = min(base, q * own[i] - p * total)
    for j in range(n):
        meets = False
        for l in range(k):
            meets |= products[j, l] != 0
        if not meets:
            slacks[j] = base
            continue
        worst = np.inf
        for i in range(k):
            own = products[support[i]]
            for sign in (1.0, -1.0):
                total = 0.0
                for l in range(k):
                    if l != i:
                        total += abs(own[l] - sign * products[j, l])
                worst = min(worst, q * (own[i] - sign * products[j, i]) - p * total)
        slacks[j] = worst
    for i in range(k):
        slacks[support[i]] = np.inf
