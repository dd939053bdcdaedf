"""Masks drawn again from their recipes: then nothing needs to be stored of them."""

from __future__ import annotations

import re

from expander_theory.base import InvalidArgument
from expander_theory.masks import MASK_FAMILIES, Mask, MaskFamily

_RECIPE = re.compile(r"([a-z -]+)\(((?:\w+=\d+(?:, )?)*)\)")
_SOME_COLUMNS = re.compile(r"(\d+) columns of euler square\(q=(\d+), d=(\d+)\)(?:, seed=(\d+))?")


def redrawn(recipe: str, m: int, n: int, d: int) -> Mask | None:
    """The mask that a family of :mod:`expander_theory.masks` makes of this recipe; None where none does.

    Whether it is the one that the recipe was written for, only its hash tells.

    Args:
        recipe: such as ``uniform(m=576, n=2304, d=8, seed=0)``.
        m, n, d: sizes that it must have: nothing is drawn of others.
    """
    if len(recipe) > 200:
        return None
    some = _SOME_COLUMNS.fullmatch(recipe)
    if some and some[4] is not None:
        family, given = MASK_FAMILIES["partial-euler-square"], {"seed": int(some[4])}
        sizes = (int(some[2]) * int(some[3]), int(some[1]), int(some[3]))
    else:
        found = _RECIPE.fullmatch(recipe)
        name = found[1].replace(" ", "-") if found else ""
        if found is None or name not in MASK_FAMILIES:
            return None
        pairs = (pair.split("=") for pair in found[2].split(", ") if pair)
        family, given = MASK_FAMILIES[name], {key: int(value) for key, value in pairs}
        sizes = _sizes(family, given)
    if sizes != (m, n, d) or (family.kind != "design" and "seed" not in given):
        return None
    try:
        options = {name: given[name] for name in family.options if name in given}
        return family.build(m, n, d, seed=given.get("seed", 0), **options)
    except InvalidArgument:
        return None


def _sizes(family: MaskFamily, given: dict[str, int]) -> tuple[int, int, int] | None:
    """(m, n, d) of the parameters in a recipe."""
    try:
        return family.shape(**{name: given[name] for name in (*family.needs, *family.optional) if name in given})
    except (InvalidArgument, KeyError, TypeError):
        return None
