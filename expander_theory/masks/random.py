"""Uniform random left-d-regular masks."""

from expander_theory.base import Seed, generator, require, require_int, unchecked
from expander_theory.masks.mask import Mask
from expander_theory.masks.subsets import uniform_subsets

LIMIT = 2**31
"""Rows are stored as int32, and so are places among the nonzeros."""


def require_sizes(m: int, n: int, d: int) -> tuple[int, int, int]:
    """m, n, d as plain ints, or :class:`InvalidArgument` if no left-d-regular mask has them."""
    m, n, d = require_int("m", m), require_int("n", n), require_int("d", d)
    require(1 <= m < LIMIT, "m", m, "must be a positive 32-bit integer")
    require(1 <= n < LIMIT, "n", n, "must be a positive 32-bit integer")
    require(1 <= d <= m, "d", d, f"must be between 1 and m = {m}")
    require(n * d < LIMIT, "n d", n * d, f"must be below {LIMIT} nonzeros")
    return m, n, d


def recipe(name: str, sizes: str, seed: Seed) -> str:
    """``name(sizes, seed=...)``; the seed is left out where it is a generator."""
    return f"{name}({sizes}, seed={seed})" if isinstance(seed, int) else f"{name}({sizes})"


def uniform_mask(m: int, n: int, d: int, *, seed: Seed) -> Mask:
    """n columns, each an independent uniform d-subset of the m rows (the model of THEORY.md EXP-6).

    Floyd's sampling, O(n d^2) time for any m.

    Raises:
        InvalidArgument: m, n or d below 1, or d > m.
    """
    m, n, d = require_sizes(m, n, d)
    rows = uniform_subsets(generator(seed, "uniform mask"), m, n, d)
    return unchecked(Mask, m=m, rows=rows, recipe=recipe("uniform", f"m={m}, n={n}, d={d}", seed))
