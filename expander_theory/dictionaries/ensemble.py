"""Ensembles of dictionaries: a family of masks with random values, dense Gaussian matrices, one file, a function."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import numpy as np

from expander_theory.base import (
    InvalidFile,
    Plugin,
    Seed,
    generator,
    require,
    require_choice,
    require_int,
    require_real,
    unchecked,
)
from expander_theory.dictionaries.block_dictionary import BlockDictionary
from expander_theory.dictionaries.brought import DictionaryLaw, drawn_by
from expander_theory.dictionaries.dictionary import DenseDictionary, Dictionary
from expander_theory.dictionaries.kinds import AnyDictionary, load_dictionary
from expander_theory.dictionaries.values import dense_gaussian_dictionary, flat_values, gaussian_values, sign_values
from expander_theory.masks import MASK_FAMILIES, Mask, build_mask, require_sizes

ENSEMBLE_FAMILIES = (*MASK_FAMILIES, "dense", "file")
USER = "user"
VALUES = ("signs", "gaussian", "flat", "stored")


@dataclass(frozen=True)
class Ensemble:
    """A family of dictionaries with unit columns.

    Attributes:
        family: of masks, one of :data:`expander_theory.MASK_FAMILIES`. A design is fixed, so that the values alone are
            random; the others are drawn anew, "overlap-limited" with the least limit on the overlap that its greedy
            search reaches in each draw, "polynomial" with the fewest coefficients that give n columns.
            Without a mask: "dense" (Gaussian).
            "file": one dictionary saved by this project, a trained decoder say; its columns are scaled to unit norm.
            "user": what a function of the user draws (:meth:`from_function`), scaled to unit norm.
        m: rows.
        n: columns.
        d: left degree; m for "dense".
        values: "signs", "gaussian" or "flat" (of the given flatness); "gaussian" for "dense", "stored" for "file" and
            "user".
        flatness: C_j for "flat" values, 0 otherwise.
        file: where "file" is read from; the place is no part of equality. :meth:`from_file` fills in the rest.
        sha256: content hash of that dictionary (before scaling), which is its identity: read from the file where it is
            not given, checked whenever the file is read. It can be given without a file, but then nothing can be drawn.
        plugin: the function of "user" (a :class:`expander_theory.dictionaries.DictionaryLaw`).

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
    plugin: Plugin | None = None

    def __post_init__(self) -> None:
        require_choice("family", self.family, (*ENSEMBLE_FAMILIES, USER))
        if self.plugin is not None:
            object.__setattr__(self, "plugin", Plugin.of("plugin", self.plugin))
        require_choice("values", self.values, VALUES)
        for name in ("m", "n", "d"):
            object.__setattr__(self, name, require_int(name, getattr(self, name)))
        object.__setattr__(self, "flatness", require_real("flatness", self.flatness))
        object.__setattr__(self, "file", os.fspath(self.file))
        require_sizes(self.m, self.n, self.d)
        _require_values(self)
        if self.family in MASK_FAMILIES:
            MASK_FAMILIES[self.family].require(self.m, self.n, self.d)
        if self.family == "file" and not self.sha256:
            stored = _uniform(self.file)
            shapes = ((self.m, self.n, self.d), (stored.m, stored.n, stored.d))
            for name, given, there in zip("mnd", *shapes, strict=True):
                require(given == there, name, given, f"must be {there}, as in {self.file}")
            object.__setattr__(self, "sha256", stored.sha256)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Ensemble:
        """The ensemble of one dictionary, by the file that ``save`` wrote.

        Raises:
            InvalidFile: missing, damaged, not a dictionary, with NaN, or of blocks, which no one d describes.
        """
        stored = _uniform(path)
        return cls("file", stored.m, stored.n, stored.d, "stored", file=os.fspath(path), sha256=stored.sha256)

    @classmethod
    def from_function(
        cls, function: DictionaryLaw | str | Plugin | Callable[..., Any], m: int, n: int, d: int | None = None
    ) -> Ensemble:
        """The ensemble of what a user's function draws.

        Args:
            function: a :class:`expander_theory.dictionaries.DictionaryLaw`, or ``package.module:function``, or
                ``path/to/file.py:function``.
            m, n: shape of the dictionaries.
            d: what the function is to take as the left degree; default m.

        Raises:
            InvalidArgument: sizes out of range, or a function whose source cannot tell what it does.
            InvalidFile: a file that cannot be read or run.
        """
        return cls(USER, m, n, m if d is None else d, "stored", plugin=Plugin.of("function", function))

    @property
    def content(self) -> dict[str, Any]:
        """The attributes that name the ensemble: all but the place of its file; a plugin by name and hash."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("file", "plugin")}
        return named if self.plugin is None else named | {"plugin": self.plugin.content}

    @property
    def label(self) -> str:
        """The family in tables; of a user's function its name and the beginning of its hash."""
        return self.family if self.plugin is None else self.plugin.label

    def draw(self, seed: Seed, dtype: type[np.floating[Any]] = np.float64) -> AnyDictionary:
        """One dictionary of the ensemble, unit columns. It is computed in float64 (from a file, in the dtype that is
        stored), and rounded to ``dtype``: the same one for every dtype.

        Raises:
            InvalidFile: the file is missing, damaged, or holds another dictionary than at first.
            InvalidArgument: no file is given, or the user's function is known by its name alone.
            PluginFailed: the user's function drew no dictionary of this shape.
        """
        if self.family == "file":
            allowed = f"must name the file of the dictionary with SHA-256 {self.sha256[:12]}..."
            require(bool(self.file), "file", "not given", allowed)
            return _stored(self.file, self.sha256).astype(dtype)
        rng = generator(seed, "ensemble")
        if self.plugin is not None:
            return drawn_by(self.plugin, self.m, self.n, self.d, rng).astype(dtype)
        if self.family == "dense":
            return dense_gaussian_dictionary(self.m, self.n, seed=rng).astype(dtype)
        family = MASK_FAMILIES[self.family]
        if family.kind == "design":
            mask = _design(self.family, self.m, self.n, self.d)
        else:
            mask = family.builder(self.m, self.n, self.d, seed=rng)
        if self.values == "flat":
            values = flat_values(mask.rows.shape, self.flatness, rng)
        else:
            values = (sign_values if self.values == "signs" else gaussian_values)(mask.rows.shape, rng)
        return unchecked(Dictionary, mask=mask, values=values.astype(dtype, copy=False))


def _uniform(path: str | os.PathLike[str]) -> Dictionary | DenseDictionary:
    """The dictionary of a file, if all columns have d nonzeros."""
    stored = load_dictionary(path)
    if isinstance(stored, BlockDictionary):
        raise InvalidFile(path, "holds a block dictionary; the columns of an ensemble have one number of nonzeros")
    return stored


@lru_cache(maxsize=2)
def _stored(path: str, sha256: str) -> AnyDictionary:
    stored = load_dictionary(path)
    if stored.sha256 != sha256:
        found, expected = stored.sha256[:12], sha256[:12]
        raise InvalidFile(path, f"has changed: its dictionary has SHA-256 {found}..., expected {expected}...")
    return stored.normalised()


def _require_values(e: Ensemble) -> None:
    """Values, flatness and file that go with the family."""
    only = {"dense": "gaussian", "file": "stored", USER: "stored"}.get(e.family)
    if only:
        require(e.values == only, "values", repr(e.values), f"must be {only} for a dictionary of family {e.family}")
    else:
        require(e.values != "stored", "values", "'stored'", "goes with family file alone")
    required = "must be a function for the family user, and None for all others"
    require((e.plugin is not None) == (e.family == USER), "plugin", e.plugin, required)
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


@lru_cache(maxsize=4)
def _design(family: str, m: int, n: int, d: int) -> Mask:
    """The mask of a fixed family: the same in all draws."""
    return build_mask(family, m, n, d, seed=0)
