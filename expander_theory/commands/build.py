"""``expander build``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from expander_theory.base import InvalidArgument, require
from expander_theory.commands.output import require_new

if TYPE_CHECKING:
    from expander_theory.masks import Mask

_OWNERS = {
    "q": ("polynomial", "projective-plane", "affine-plane"),
    "r": ("polynomial",),
    "max_overlap": ("overlap-limited",),
}


@dataclass(frozen=True)
class Build:
    """Build a mask, or a dictionary on it, and save it with its content hash."""

    out: tyro.conf.Positional[Path]
    """File to write (safetensors)."""
    m: int | None = None
    """Rows. For --construction polynomial it is d q and may be left out, as for the planes."""
    n: int | None = None
    """Columns. Default for --construction polynomial: all q^r. May be left out for the planes."""
    d: int | None = None
    """Nonzeros per column (left degree), at most m. Not for a dense dictionary. May be left out for the planes."""
    construction: Literal[
        "uniform",
        "biregular",
        "progressive-edge-growth",
        "overlap-limited",
        "polynomial",
        "projective-plane",
        "affine-plane",
        "dense",
    ] = "uniform"
    """uniform: independent uniform d-subsets. biregular: random, row degrees differ by at most one.
    progressive-edge-growth: each edge closes the longest cycle, few shared rows. overlap-limited: greedy random,
    two columns share at most --max-overlap rows. polynomial: Reed-Solomon over GF(q), overlap at most r - 1.
    projective-plane: lines of PG(2, q), m = n = q^2 + q + 1, d = q + 1, overlap exactly 1. affine-plane: lines of
    AG(2, q), m = q^2, n = q^2 + q, d = q, overlap at most 1. dense: no mask, a Gaussian dictionary."""
    q: int | None = None
    """Order of the field, a prime power (polynomial, projective-plane, affine-plane)."""
    r: int | None = None
    """Coefficients of the polynomials, default 2; two columns share at most r - 1 rows (polynomial)."""
    max_overlap: int | None = None
    """Rows that two columns may share (overlap-limited, required there)."""
    values: Literal["none", "signs", "gaussian", "flat"] = "none"
    """none: save the mask alone. Otherwise the values of a dictionary of unit columns on it."""
    flatness: float | None = None
    """C = sqrt(d) max|w| / ||w|| of every column, between 1 and sqrt(d) (values flat)."""
    seed: int = 0
    """Seed of mask and values."""
    force: bool = False
    """Overwrite an existing file."""

    def run(self) -> None:
        from expander_theory.base import require_seed
        from expander_theory.dictionaries import (
            dense_gaussian_dictionary,
            flat_dictionary,
            gaussian_dictionary,
            sign_dictionary,
        )
        from expander_theory.masks import save_mask

        require_new(self.out, self.force)
        require_seed(self.seed)
        for name, constructions in _OWNERS.items():
            given = getattr(self, name)
            allowed = given is None or self.construction in constructions
            require(allowed, name.replace("_", "-"), given, f"goes with {' or '.join(constructions)} alone")
        require(self.d is None or self.construction != "dense", "d", self.d, "does not go with a dense dictionary")
        require(self.flatness is None or self.values == "flat", "flatness", self.flatness, "goes with --values flat")
        if self.construction == "dense":
            require(self.values in ("none", "gaussian"), "values", self.values, "must be gaussian when dense")
            dense = dense_gaussian_dictionary(_given("m", self.m), _given("n", self.n), seed=self.seed)
            dense.save(self.out)
            print(f"wrote {self.out}: dense Gaussian dictionary, m = {dense.m}, n = {dense.n}, sha256 {dense.sha256}")
            return
        mask = self._mask()
        if self.values == "none":
            save_mask(mask, self.out)
            print(f"wrote {self.out}: {mask}, sha256 {mask.sha256}")
            return
        if self.values == "flat":
            flatness = self.flatness
            if flatness is None:
                raise InvalidArgument("flatness", "not given", "--values flat needs --flatness, 1 to sqrt(d)")
            dictionary = flat_dictionary(mask, flatness=flatness, seed=self.seed)
        else:
            dictionary = (sign_dictionary if self.values == "signs" else gaussian_dictionary)(mask, seed=self.seed)
        dictionary.save(self.out)
        print(f"wrote {self.out}: {self.values} dictionary on {mask}, sha256 {dictionary.sha256}")

    def _mask(self) -> "Mask":
        from expander_theory import masks

        if self.construction == "polynomial":
            d, q = _given("d", self.d), _given("q", self.q)
            require(self.m in (None, d * q), "m", self.m, f"must be d q = {d * q} for the polynomial construction")
            return masks.polynomial_mask(q, d, r=2 if self.r is None else self.r, n=self.n)
        if self.construction in ("projective-plane", "affine-plane"):
            projective = self.construction == "projective-plane"
            mask = (masks.projective_plane_mask if projective else masks.affine_plane_mask)(_given("q", self.q))
            for name in ("m", "n", "d"):
                given, follows = getattr(self, name), getattr(mask, name)
                require(given in (None, follows), name, given, f"must be {follows} for this plane (or left out)")
            return mask
        d, m, n = _given("d", self.d), _given("m", self.m), _given("n", self.n)
        if self.construction == "overlap-limited":
            limit = _given("max-overlap", self.max_overlap)
            return masks.overlap_limited_mask(m, n, d, max_overlap=limit, seed=self.seed)
        random_masks = {
            "uniform": masks.uniform_mask,
            "biregular": masks.biregular_mask,
            "progressive-edge-growth": masks.progressive_edge_growth_mask,
        }
        return random_masks[self.construction](m, n, d, seed=self.seed)


def _given(name: str, value: int | None) -> int:
    if value is None:
        raise InvalidArgument(name, "not given", f"this construction needs --{name}")
    return value
