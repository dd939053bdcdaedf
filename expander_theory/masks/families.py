"""The families of masks, each once: its name, what it is, which sizes it has, and how it is built.

Commands, ensembles, sweeps, certified masks and controls read this registry: a new family is one entry here. A
parameter of a new name needs an option of ``expander build`` beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from expander_theory.base import InvalidArgument, Seed, require, require_choice
from expander_theory.masks import sizes
from expander_theory.masks.algebraic import polynomial_mask
from expander_theory.masks.balanced import biregular_mask
from expander_theory.masks.controls import clustered_mask, contiguous_mask, repeated_mask
from expander_theory.masks.designs import (
    affine_plane_mask,
    complete_design_mask,
    complete_graph_mask,
    euler_square_mask,
    generalised_quadrangle_mask,
    partial_euler_square_mask,
    projective_plane_mask,
)
from expander_theory.masks.fields import is_prime_power
from expander_theory.masks.growth import least_overlap_mask, overlap_limited_mask, progressive_edge_growth_mask
from expander_theory.masks.mask import Mask
from expander_theory.masks.random import require_sizes, uniform_mask
from expander_theory.masks.sizes import Sizes

Kind = Literal["random", "design", "control"]

COLUMNS_PER_SUPPORT = 16
"""In the family "repeated", where it is not told otherwise: columns that share one support."""


def _given(*, m: int, n: int, d: int) -> Sizes:
    return m, n, d


def _any(m: int, n: int, d: int) -> None:
    """Every left-d-regular size has such masks."""


def _nothing(m: int, n: int, d: int) -> Iterable[Sizes]:
    return ()


@dataclass(frozen=True, eq=False)
class MaskFamily:
    """A family of left-d-regular masks.

    Attributes:
        name: as on the command line and in ledgers.
        summary: what it is and which sizes it has, in a line.
        kind: "random" (the seed decides), "design" (one mask a size, which no seed changes), or "control" (random, and
            without what makes an expander).
        builder: ``builder(m, n, d, *, seed, **options)``, the mask of sizes that :meth:`require` lets pass.
        options: names of keyword arguments that the builder takes; each has a default.
        check: raises :class:`InvalidArgument` for sizes 1 <= d <= m, n >= 1 that no mask of the family has.
        needs: the parameters that fix the sizes, in place of m, n and d: the order of a plane, say.
        optional: further ones, with their defaults.
        shape: (m, n, d) from these parameters, all given by name; raises :class:`InvalidArgument`.
        near: some sizes of the family near the given ones; none where the family has all sizes.
        order: for families with m = d q rows and a choice of n: whether there are masks with that q and d.
    """

    name: str
    summary: str
    kind: Kind
    builder: Callable[..., Mask]
    options: tuple[str, ...] = ()
    check: Callable[[int, int, int], None] = _any
    needs: tuple[str, ...] = ("m", "n", "d")
    optional: Mapping[str, int | None] = field(default_factory=lambda: MappingProxyType({}))
    shape: Callable[..., Sizes] = _given
    near: Callable[[int, int, int], Iterable[Sizes]] = _nothing
    order: Callable[[int, int], bool] | None = None

    @property
    def parameters(self) -> tuple[str, ...]:
        """All that one may say of a mask of this family, beside m, n, d and the seed."""
        return tuple(dict.fromkeys(p for p in (*self.needs, *self.optional, *self.options) if p not in ("m", "n", "d")))

    def require(self, m: int, n: int, d: int) -> Sizes:
        """m, n, d as plain ints, or :class:`InvalidArgument` that says why the family has no mask of these sizes."""
        m, n, d = require_sizes(m, n, d)
        self.check(m, n, d)
        return m, n, d

    def exists(self, m: int, n: int, d: int) -> bool:
        """Whether the family has a mask of these sizes."""
        return not self.reason_against(m, n, d)

    def reason_against(self, m: int, n: int, d: int) -> str:
        """Why the family has no mask of these sizes; "" if it has one."""
        try:
            self.require(m, n, d)
        except InvalidArgument as error:
            return str(error)
        return ""

    def build(self, m: int, n: int, d: int, *, seed: Seed, **options: Any) -> Mask:
        """The mask of these sizes and this seed.

        Args:
            m, n, d: rows, columns, nonzeros a column.
            seed: a non-negative integer or a generator; a design does not depend on it.
            options: some of :attr:`options`.

        Raises:
            InvalidArgument: no mask of these sizes, an option that the family does not take, or a bad one.
        """
        for name, value in options.items():
            allowed = f"is no option of the family {self.name}, which takes {', '.join(self.options) or 'none'}"
            require(name in self.options, name, value, allowed)
        m, n, d = self.require(m, n, d)
        return self.builder(m, n, d, seed=seed, **options)

    def rows_at_most(self, m: int, d: int) -> int:
        """The most rows up to m with which the family has masks of left degree d, for some n.

        Where there are none (with order 2 or more), the fewest, 2 d, for the error that these give.
        """
        if self.order is None:
            return m
        return d * next((q for q in range(m // d, 1, -1) if self.order(q, d)), 2)

    def rows_near(self, m: float, d: int) -> int:
        """The number of rows nearest to m with which the family has masks of left degree d, for some n.

        Raises:
            InvalidArgument: d below 1.
        """
        if self.order is None:
            return max(1, round(m))
        order = self.order
        require(d >= 1, "d", d, "must be at least 1")
        fields = sizes.orders_near(m / d, lambda q: order(q, d), max(2, d - 1))
        require(bool(fields), "d", d, f"the family {self.name} has no mask of this left degree")
        return d * min(fields, key=lambda q: abs(q * d - m))


def mask_family(name: str) -> MaskFamily:
    """The family of this name, or :class:`InvalidArgument` with all names."""
    require_choice("family", name, tuple(MASK_FAMILIES))
    return MASK_FAMILIES[name]


def build_mask(name: str, m: int, n: int, d: int, *, seed: Seed, **options: Any) -> Mask:
    """A mask by the name of its family; see :meth:`MaskFamily.build`.

    Raises:
        InvalidArgument: no such family, or the family has no such mask: and why.
    """
    return mask_family(name).build(m, n, d, seed=seed, **options)


# ---- builders that do more than call one construction


def _overlap_limited(m: int, n: int, d: int, *, seed: Seed, max_overlap: int | None = None) -> Mask:
    if max_overlap is None:
        return least_overlap_mask(m, n, d, seed=seed, first=0)
    return overlap_limited_mask(m, n, d, max_overlap=max_overlap, seed=seed)


def _polynomial(m: int, n: int, d: int, *, seed: Seed, r: int | None = None) -> Mask:
    return polynomial_mask(m // d, d, r=sizes.polynomial_terms(m // d, n) if r is None else r, n=n)


def _repeated(m: int, n: int, d: int, *, seed: Seed, supports: int | None = None) -> Mask:
    some = max(1, n // COLUMNS_PER_SUPPORT) if supports is None else supports
    return repeated_mask(m, n, d, supports=some, seed=seed)


_FAMILIES = (
    MaskFamily("uniform", "independent uniform d-subsets of the rows; any m, n and d <= m", "random", uniform_mask),
    MaskFamily("biregular", "row degrees differ by at most one; any m, n and d <= m", "random", biregular_mask),
    MaskFamily(
        "progressive-edge-growth",
        "each edge closes the longest cycle, few shared rows; any m, n and d <= m",
        "random",
        progressive_edge_growth_mask,
    ),
    MaskFamily(
        "overlap-limited",
        "greedy, two columns share at most max_overlap rows (default: the least limit reached); any m, n and d <= m",
        "random",
        _overlap_limited,
        options=("max_overlap",),
    ),
    MaskFamily(
        "polynomial",
        "Reed-Solomon over GF(q), two columns share at most r - 1 rows; m = d q, n <= q^r, d <= q + 1",
        "design",
        _polynomial,
        options=("r",),
        check=sizes.require_polynomial_sizes,
        needs=("q", "d"),
        optional=MappingProxyType({"r": 2, "n": None}),
        shape=sizes.polynomial_sizes,
        near=sizes.polynomial_near,
        order=lambda q, d: is_prime_power(q),
    ),
    MaskFamily(
        "euler-square",
        "orthogonal Latin squares of any order q, two columns share at most one row; m = d q, n = q^2, d at most the "
        "least prime power in q plus 1",
        "design",
        lambda m, n, d, *, seed: euler_square_mask(m // d, d),
        check=sizes.require_euler_sizes,
        needs=("q", "d"),
        shape=sizes.euler_sizes,
        near=sizes.euler_near,
    ),
    MaskFamily(
        "partial-euler-square",
        "n random columns of an Euler square; m = d q, n <= q^2, d at most the least prime power in q plus 1",
        "random",
        partial_euler_square_mask,
        check=sizes.require_partial_euler_sizes,
        needs=("q", "d", "n"),
        shape=sizes.partial_euler_sizes,
        near=sizes.partial_euler_near,
        order=sizes.euler_order,
    ),
    MaskFamily(
        "affine-plane",
        "lines of AG(2, q), two columns share at most one row; m = q^2, n = q^2 + q, d = q",
        "design",
        lambda m, n, d, *, seed: affine_plane_mask(d),
        check=sizes.require_affine_sizes,
        needs=("q",),
        shape=sizes.affine_sizes,
        near=sizes.affine_near,
    ),
    MaskFamily(
        "projective-plane",
        "lines of PG(2, q), every two columns share exactly one row; m = n = q^2 + q + 1, d = q + 1",
        "design",
        lambda m, n, d, *, seed: projective_plane_mask(d - 1),
        check=sizes.require_projective_sizes,
        needs=("q",),
        shape=sizes.projective_sizes,
        near=sizes.projective_near,
    ),
    MaskFamily(
        "generalised-quadrangle",
        "lines of GQ(s, t), t = s or s^2, girth 8; m = (s + 1)(s t + 1), n = (t + 1)(s t + 1), d = s + 1",
        "design",
        lambda m, n, d, *, seed: generalised_quadrangle_mask(d - 1, (m // d - 1) // (d - 1)),
        check=sizes.require_quadrangle_sizes,
        needs=("s", "t"),
        shape=sizes.quadrangle_sizes,
        near=sizes.quadrangle_near,
    ),
    MaskFamily(
        "complete-graph",
        "vertices of K_v as columns on its edges, every two share one row; m = v (v - 1) / 2, n = v, d = v - 1",
        "design",
        lambda m, n, d, *, seed: complete_graph_mask(n),
        check=sizes.require_graph_sizes,
        needs=("v",),
        shape=sizes.graph_sizes,
        near=sizes.graph_near,
    ),
    MaskFamily(
        "complete-design",
        "all d-subsets of the m rows; n = C(m, d)",
        "design",
        lambda m, n, d, *, seed: complete_design_mask(m, d),
        check=sizes.require_complete_design_sizes,
        needs=("m", "d"),
        shape=sizes.complete_design_sizes,
        near=sizes.complete_design_near,
    ),
    MaskFamily(
        "clustered",
        "control: floor(m / d) disjoint blocks of rows, each column on one of them; any m, n and d <= m",
        "control",
        clustered_mask,
    ),
    MaskFamily(
        "repeated",
        f"control: only so many different supports (default n / {COLUMNS_PER_SUPPORT}); any m, n and d <= m",
        "control",
        _repeated,
        options=("supports",),
    ),
    MaskFamily(
        "contiguous", "control: d neighbouring rows, cyclically; any m, n and d <= m", "control", contiguous_mask
    ),
)

MASK_FAMILIES = MappingProxyType({family.name: family for family in _FAMILIES})
"""Every :class:`MaskFamily`, by name."""
