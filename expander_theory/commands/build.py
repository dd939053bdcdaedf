"""``expander build``."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from expander_theory.base import InvalidArgument, require
from expander_theory.masks import MASK_FAMILIES, Mask, MaskFamily, Sizes, mask_family
from expander_theory.results import require_new

if TYPE_CHECKING:
    Construction = str
else:
    Construction = Literal[(*MASK_FAMILIES, "dense")]

_HELP = "\n".join(
    (
        *(f"{family.name}: {family.summary}." for family in MASK_FAMILIES.values()),
        "dense: no mask, a Gaussian dictionary.",
        "The sizes that follow from others may be left out.",
    )
)
PARAMETERS = tuple(dict.fromkeys(name for family in MASK_FAMILIES.values() for name in family.parameters))
"""What families take beside m, n and d: an option each."""


def _owners(name: str) -> str:
    return " or ".join(family.name for family in MASK_FAMILIES.values() if name in family.parameters)


def _help(text: str, name: str) -> Any:
    return tyro.conf.arg(help=f"{text} ({_owners(name).replace(' or ', ', ')}).")


@dataclass(frozen=True)
class Build:
    """Build a mask, or a dictionary on it, and save it with its content hash."""

    out: tyro.conf.Positional[Path]
    """File to write (safetensors)."""
    m: int | None = None
    """Rows. May be left out where they follow from other options."""
    n: int | None = None
    """Columns. May be left out where they follow from other options; default for --construction polynomial: all q^r."""
    d: int | None = None
    """Nonzeros per column (left degree), at most m. Not for a dense dictionary. May be left out where it follows from
    other options."""
    construction: Annotated[Construction, tyro.conf.arg(help=_HELP)] = "uniform"
    q: Annotated[int | None, _help("Order: of the field (a prime power), or of the Latin squares", "q")] = None
    r: Annotated[
        int | None, _help("Coefficients of the polynomials, default 2; two columns share at most r - 1 rows", "r")
    ] = None
    s: Annotated[int | None, _help("Points of a line less 1, a prime power", "s")] = None
    t: Annotated[int | None, _help("Lines through a point less 1: s or s^2", "t")] = None
    v: Annotated[int | None, _help("Vertices", "v")] = None
    max_overlap: Annotated[
        int | None,
        _help("Rows that two columns may share; default: the least limit that the search reaches", "max_overlap"),
    ] = None
    supports: Annotated[int | None, _help("Different supports", "supports")] = None
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
        family = None if self.construction == "dense" else mask_family(self.construction)
        for name in PARAMETERS:
            given = getattr(self, name)
            allowed = given is None or (family is not None and name in family.parameters)
            require(allowed, name.replace("_", "-"), given, f"goes with {_owners(name)} alone")
        require(self.d is None or family is not None, "d", self.d, "does not go with a dense dictionary")
        require(self.flatness is None or self.values == "flat", "flatness", self.flatness, "goes with --values flat")
        if family is None:
            require(self.values in ("none", "gaussian"), "values", self.values, "must be gaussian when dense")
            dense = dense_gaussian_dictionary(_given("m", self.m), _given("n", self.n), seed=self.seed)
            dense.save(self.out)
            print(f"wrote {self.out}: dense Gaussian dictionary, m = {dense.m}, n = {dense.n}, sha256 {dense.sha256}")
            return
        mask = self._mask(family)
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

    def _mask(self, family: MaskFamily) -> Mask:
        """By its sizes if they are all that is given, otherwise by the family's own parameters, with which the given
        sizes must agree."""
        sizes = {name: getattr(self, name) for name in "mnd"}
        own = {name: getattr(self, name) for name in family.parameters if getattr(self, name) is not None}
        options = {name: value for name, value in own.items() if name in family.options}
        if None in sizes.values() or any(name in own for name in family.needs):
            given = {**own, **{name: size for name, size in sizes.items() if size is not None}}
            words = {name: _given(name, given.get(name)) for name in family.needs}
            words |= {name: given.get(name, default) for name, default in family.optional.items()}
            follows = dict(zip("mnd", family.shape(**words), strict=True))
            for name, size in follows.items():
                allowed = f"must be {size} for this {family.name} mask (or left out)"
                require(sizes[name] in (None, size), name, sizes[name], allowed)
            sizes, options = follows, {**options, **{name: words[name] for name in family.options if name in words}}
        try:
            return family.build(**sizes, seed=self.seed, **options)
        except InvalidArgument as error:
            near = "; ".join(f"m = {m}, n = {n}, d = {d}" for m, n, d in _near(family, **sizes))
            if error.name not in sizes or not near:
                raise
            allowed = f"{error.allowed} (sizes nearby that exist: {near})"
            raise InvalidArgument(error.name, error.value, allowed) from None


def _near(family: MaskFamily, m: int, n: int, d: int) -> Iterator[Sizes]:
    """At most three sizes that the family has, near the given ones."""
    if min(m, n, d) >= 1:
        yield from islice((at for at in family.near(m, n, d) if family.exists(*at)), 3)


def _given(name: str, value: int | None) -> int:
    if value is None:
        word = name.replace("_", "-")
        raise InvalidArgument(word, "not given", f"this construction needs --{word}")
    return value
