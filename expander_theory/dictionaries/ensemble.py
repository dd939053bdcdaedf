"""Ensembles of dictionaries: a family of masks with random values, dense Gaussian matrices, or one given file."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from expander_theory import masks
from expander_theory.base import (
    InvalidArgument,
    InvalidFile,
    Seed,
    generator,
    require,
    require_choice,
    require_int,
    require_real,
)
from expander_theory.dictionaries.dictionary import AnyDictionary, Dictionary, load_dictionary
from expander_theory.dictionaries.values import dense_gaussian_dictionary, flat_values, gaussian_values, sign_values
from expander_theory.masks import Mask, is_prime_power, require_polynomial, require_sizes, uniform_subsets

Made = TypeVar("Made", Mask, Dictionary)

RANDOM_FAMILIES = ("uniform", "biregular", "progressive-edge-growth", "overlap-limited")
DESIGN_FAMILIES = (
    *("polynomial", "euler-square", "affine-plane", "projective-plane"),
    *("generalised-quadrangle", "complete-graph", "complete-design"),
)
FAMILIES = (*RANDOM_FAMILIES, *DESIGN_FAMILIES, "dense", "file")
VALUES = ("signs", "gaussian", "flat", "stored")


@dataclass(frozen=True)
class Ensemble:
    """A family of dictionaries with unit columns.

    Attributes:
        family: of masks. Random: "uniform", "biregular", "progressive-edge-growth", and "overlap-limited" with the
            least limit on the overlap that its greedy search reaches (in each draw).
            Fixed, so that the values alone are random: "polynomial" over GF(m/d) with the fewest coefficients that
            give n columns, "euler-square" (q = m/d), "affine-plane" (q = d), "projective-plane" (q = d - 1),
            "generalised-quadrangle" (s = d - 1, t from m), "complete-graph" (v = n), "complete-design".
            Without a mask: "dense" (Gaussian).
            "file": one dictionary saved by this project, a trained decoder say; its columns are scaled to unit norm.
        m: rows.
        n: columns.
        d: left degree; m for "dense".
        values: "signs", "gaussian" or "flat" (of the given flatness); "gaussian" for "dense", "stored" for "file".
        flatness: C_j for "flat" values, 0 otherwise.
        file: where "file" is read from; the place is no part of equality. :meth:`from_file` fills in the rest.
        sha256: content hash of that dictionary (before scaling), which is its identity: read from the file where it is
            not given, checked whenever the file is read. It can be given without a file, but then nothing can be drawn.

    Raises:
        InvalidArgument: a combination that no dictionary has.
        InvalidFile: a dictionary that cannot be read.
    """

    family: str
    m: int
    n: int
    d: int
    values: str = "signs"
    flatness: float = 0.0
    file: str = field(default="", compare=False)
    sha256: str = ""

    def __post_init__(self) -> None:
        require_choice("family", self.family, FAMILIES)
        require_choice("values", self.values, VALUES)
        for name in ("m", "n", "d"):
            object.__setattr__(self, name, require_int(name, getattr(self, name)))
        object.__setattr__(self, "flatness", require_real("flatness", self.flatness))
        object.__setattr__(self, "file", os.fspath(self.file))
        require_sizes(self.m, self.n, self.d)
        _require_values(self)
        if self.family in DESIGN_FAMILIES:
            _require_design(self.family, self.m, self.n, self.d)
        if self.family == "file" and not self.sha256:
            stored = load_dictionary(self.file)
            shapes = ((self.m, self.n, self.d), (stored.m, stored.n, stored.d))
            for name, given, there in zip("mnd", *shapes, strict=True):
                require(given == there, name, given, f"must be {there}, as in {self.file}")
            object.__setattr__(self, "sha256", stored.sha256)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Ensemble:
        """The ensemble of one dictionary, by the file that ``save`` wrote.

        Raises:
            InvalidFile: missing, damaged, not a dictionary, or with NaN.
        """
        stored = load_dictionary(path)
        return cls("file", stored.m, stored.n, stored.d, "stored", file=os.fspath(path), sha256=stored.sha256)

    @property
    def content(self) -> dict[str, Any]:
        """The attributes that name the ensemble: all but the place of its file."""
        return {name: value for name, value in asdict(self).items() if name != "file"}

    def draw(self, seed: Seed, dtype: type[np.floating[Any]] = np.float64) -> AnyDictionary:
        """One dictionary of the ensemble, unit columns. It is computed in float64 (from a file, in the dtype that is
        stored), and rounded to ``dtype``: the same one for every dtype.

        Raises:
            InvalidFile: the file is missing, damaged, or holds another dictionary than at first.
            InvalidArgument: no file is given, or a design too large for its construction.
        """
        if self.family == "file":
            allowed = f"must name the file of the dictionary with SHA-256 {self.sha256[:12]}..."
            require(bool(self.file), "file", "not given", allowed)
            return _stored(self.file, self.sha256).astype(dtype)
        rng = generator(seed, "ensemble")
        if self.family == "dense":
            return dense_gaussian_dictionary(self.m, self.n, seed=rng).astype(dtype)
        fixed = self.family in DESIGN_FAMILIES
        mask = _design(self.family, self.m, self.n, self.d) if fixed else self._random_mask(rng)
        if self.values == "flat":
            values = flat_values(mask.rows.shape, self.flatness, rng)
        else:
            values = (sign_values if self.values == "signs" else gaussian_values)(mask.rows.shape, rng)
        return _unchecked(Dictionary, mask=mask, values=values.astype(dtype, copy=False))

    def _random_mask(self, rng: np.random.Generator) -> Mask:
        m, n, d = self.m, self.n, self.d
        if self.family == "uniform":
            return _unchecked(Mask, m=m, rows=uniform_subsets(rng, m, n, d), recipe=f"uniform(m={m}, n={n}, d={d})")
        if self.family == "biregular":
            return masks.biregular_mask(m, n, d, seed=rng)
        if self.family == "progressive-edge-growth":
            return masks.progressive_edge_growth_mask(m, n, d, seed=rng)
        for limit in range(d):
            with suppress(InvalidArgument):  # impossible, or not reached
                return masks.overlap_limited_mask(m, n, d, max_overlap=limit, seed=rng)
        return masks.overlap_limited_mask(m, n, d, max_overlap=d, seed=rng)


def _unchecked(kind: type[Made], **attributes: Any) -> Made:
    """A mask or a dictionary that is right by construction: checking it would take as long as drawing it."""
    made = object.__new__(kind)
    for name, value in attributes.items():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        object.__setattr__(made, name, value)
    return made


@lru_cache(maxsize=2)
def _stored(path: str, sha256: str) -> AnyDictionary:
    stored = load_dictionary(path)
    if stored.sha256 != sha256:
        found, expected = stored.sha256[:12], sha256[:12]
        raise InvalidFile(path, f"has changed: its dictionary has SHA-256 {found}..., expected {expected}...")
    return stored.normalised()


def _require_values(e: Ensemble) -> None:
    """Values, flatness and file that go with the family."""
    only = {"dense": "gaussian", "file": "stored"}.get(e.family)
    if only:
        require(e.values == only, "values", repr(e.values), f"must be {only} for a dictionary of family {e.family}")
    else:
        require(e.values != "stored", "values", "'stored'", "goes with family file alone")
    if e.family == "dense":
        require(e.d == e.m, "d", e.d, f"must be m = {e.m} for a dense dictionary")
    if e.values == "flat":
        limit = math.sqrt(e.d)
        allowed = f"must be between 1 and sqrt(d) = {limit:.6g} for flat values"
        require(1 <= e.flatness <= limit * (1 + 1e-12), "flatness", e.flatness, allowed)
    else:
        require(e.flatness == 0, "flatness", e.flatness, f"must be 0 (not given) for {e.values} values")
    if e.family == "file":
        require(bool(e.file or e.sha256), "file", "not given", "must name the dictionary's file")
    else:
        require(not e.file and not e.sha256, "file", e.file or e.sha256, "goes with family file alone")


def _require_design(family: str, m: int, n: int, d: int) -> None:
    """Raise :class:`InvalidArgument` unless the family has a mask of this shape."""
    if family in ("polynomial", "euler-square"):
        require(m % d == 0, "m", m, f"must be d q = {d} q for the family {family}")
    q = {"polynomial": m // d, "euler-square": m // d, "affine-plane": d}.get(family, d - 1)
    if family == "polynomial":
        require(is_prime_power(q), "m", m, f"must be d q = {d} q, q a prime power, for a polynomial mask")
        require_polynomial(q, d, _polynomial_terms(q, n), n)
        return
    if family == "euler-square":
        most = _least_prime_power(q) + 1 if q > 1 else 0
        allowed = f"must be between 2 and the least prime power in q = m/d = {q} plus 1, {most}"
        require(2 <= d <= most, "d", d, allowed)
    elif family in ("affine-plane", "projective-plane", "generalised-quadrangle"):
        order = "d" if family == "affine-plane" else "d - 1"
        require(is_prime_power(q), "d", d, f"the order {order} = {q} of the family {family} must be a prime power")
    sizes = _design_sizes(family, q, m, d)
    rows = " or ".join(str(size[0]) for size in sizes)
    require(m in [size[0] for size in sizes], "m", m, f"must be {rows} for the family {family} with d = {d}")
    columns = next(size[1] for size in sizes if size[0] == m)
    shown = columns if columns < 2**31 else f"C(m, d) = C({m}, {d})"
    require(n == columns, "n", n, f"must be {shown} for the family {family} with m = {m} and d = {d}")


_LARGEST_COMPLETE = 2**17  # C(m, 2) is beyond 2^31 from here on


def _design_sizes(family: str, q: int, m: int, d: int) -> list[tuple[int, int]]:
    """(m, n) of the designs of order q and left degree d (on m rows, where these do not decide)."""
    if family == "euler-square":
        return [(d * q, q * q)]
    if family == "affine-plane":
        return [(q * q, q * q + q)]
    if family == "projective-plane":
        return [(q * q + q + 1, q * q + q + 1)]
    if family == "generalised-quadrangle":
        return [((q + 1) * (q * t + 1), (t + 1) * (q * t + 1)) for t in (q, q * q)]
    if family == "complete-graph":
        return [(d * (d + 1) // 2, d + 1)]
    return [(m, math.comb(m, d) if m <= _LARGEST_COMPLETE or d in (1, m) else 2**31)]  # of more rows none can be made


def _polynomial_terms(q: int, n: int) -> int:
    """Fewest coefficients that give n polynomials over GF(q)."""
    r = 1
    while q**r < n:
        r += 1
    return r


def _least_prime_power(q: int) -> int:
    """min p^e over the prime powers whose product is q."""
    import galois

    return min(p**e for p, e in zip(*galois.factors(q), strict=True))


@lru_cache(maxsize=4)
def _design(family: str, m: int, n: int, d: int) -> Mask:
    """The mask of a fixed family: the same in all draws."""
    if family == "polynomial":
        return masks.polynomial_mask(m // d, d, r=_polynomial_terms(m // d, n), n=n)
    if family == "euler-square":
        return masks.euler_square_mask(m // d, d)
    if family == "affine-plane":
        return masks.affine_plane_mask(d)
    if family == "projective-plane":
        return masks.projective_plane_mask(d - 1)
    if family == "generalised-quadrangle":
        return masks.generalised_quadrangle_mask(d - 1, (m // d - 1) // (d - 1))
    if family == "complete-graph":
        return masks.complete_graph_mask(n)
    return masks.complete_design_mask(m, d)
