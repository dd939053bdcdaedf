"""Synthetic k-sparse codes."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from expander_theory.dictionary import Floats
from expander_theory.errors import require, require_choice, require_int
from expander_theory.seeds import Seed, generator

Coefficients = Literal["gaussian", "signs", "uniform"]
COEFFICIENTS: tuple[str, ...] = get_args(Coefficients)


def sparse_code(n: int, k: int, *, coefficients: Coefficients = "gaussian", seed: Seed) -> Floats:
    """A code of length n with a uniform k-subset as support, float64.

    Args:
        coefficients: "gaussian" (standard normal), "signs" (+1 or -1, fair), or "uniform"
            (in [1, 2), nonnegative: the codes of an SAE).

    Raises:
        InvalidArgument: k outside 1..n, or an unknown law.
    """
    n, k = require_int("n", n), require_int("k", k)
    require(1 <= k <= n, "k", k, f"must be between 1 and n = {n}")
    require_choice("coefficients", coefficients, COEFFICIENTS)
    rng = generator(seed, "sparse code")
    support = rng.choice(n, size=k, replace=False)
    code = np.zeros(n)
    if coefficients == "gaussian":
        code[support] = rng.standard_normal(k)
    elif coefficients == "signs":
        code[support] = 2.0 * rng.integers(0, 2, k) - 1.0
    else:
        code[support] = 1.0 + rng.random(k)
    return code
