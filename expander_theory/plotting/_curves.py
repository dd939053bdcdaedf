"""Rows of a table as curves: which settings tell them apart, what they are called, how they look."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from expander_theory.masks import MASK_FAMILIES
from expander_theory.plotting.style import BLACK, BLUE, FAMILIES, GREEN, GREY, ORANGE, PURPLE, RED, SKY, degree_colours

Row = Mapping[str, Any]
Key = tuple[Any, ...]

SETTINGS = ("values", "codes", "noise", "success", "solver", "dictionary", "precision", "seed")
"""What tells tasks apart besides family, sizes and k."""

_CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY, BLACK)
_MARKERS = {"uniform": "o", "biregular": "s", "polynomial": "^", "dense": "D"}
_SOLVERS = {"omp": "OMP", "topk": "tied TopK"}


def degree(row: Row) -> int:
    """The degree that a curve or panel belongs to; dictionaries of all sizes without a mask belong together, as 0."""
    own = row.get("family") not in MASK_FAMILIES and row.get("d") == row.get("m", -1)
    return 0 if own or row.get("family") == "dense" else row.get("d", 0)


def split(rows: Iterable[Row], sizes: Sequence[str] = (), *, by_degree: bool = True) -> dict[Key, list[Row]]:
    """Rows by family, degree (0 unless asked for), the sizes named, and settings: uniform first, dense last."""
    found: dict[Key, list[Row]] = {}
    for row in rows:
        d = degree(row) if by_degree else 0
        key = (row.get("family", ""), d, *(row.get(name) for name in (*sizes, *SETTINGS)))
        found.setdefault(key, []).append(row)
    numbers = slice(1, 2 + len(sizes))
    order = sorted(found, key=lambda key: ({"uniform": 0, "dense": 2}.get(key[0], 1), key[0], key[numbers]))
    return {key: found[key] for key in order}


def free_sizes(rows: Iterable[Row]) -> tuple[str, ...]:
    """("n",) where both m and n differ between rows, so that m/n alone does not tell sizes apart; else ()."""
    rows = list(rows)
    both = all(len({row[name] for row in rows}) > 1 for name in ("m", "n"))
    return ("n",) if both else ()


def names(groups: Mapping[Key, Sequence[Row]], sizes: Sequence[str] = ()) -> dict[Key, str]:
    """A label for each group: family and degree, and the sizes and settings in which groups of the same ones differ."""
    labels = {}
    for key in groups:
        alike = [other for other in groups if other[:2] == key[:2]]
        differ = [len({other[place] for other in alike}) > 1 for place in range(len(key))]
        parts = [family_name(*key[:2])] if key[0] else []
        for place, name in enumerate((*sizes, *SETTINGS), 2):
            if differ[place]:
                parts.append(setting_name(name, key[place]))
        labels[key] = ", ".join(part for part in parts if part)
    return labels


def setting_name(name: str, value: Any) -> str:
    """A size or setting as a legend has it."""
    if name in ("m", "n"):
        return f"${name} = {value}$"
    if name == "solver":
        return solver_name(value)
    value = plain(value) if isinstance(value, str) else value
    return f"{value}" if name in ("values", "success", "precision") else f"{name} {value}"


def solver_name(solver: str) -> str:
    """A solver's name as a heading has it."""
    return _SOLVERS.get(solver, plain(solver))


def plain(name: str) -> str:
    """A name as text of a figure: those of this project with spaces, users' as they are, and none as mathematics."""
    return name.replace("-", " ") if re.fullmatch(r"[a-z0-9-]+", name) else name.replace("$", r"\$")


def family_name(family: str, d: int) -> str:
    """A family of dictionaries and its degree, if it is not 0, as a legend has them."""
    if family == "dense":
        return "dense Gaussian"
    return f"{plain(family)}, $d = {d}$" if d else plain(family)


def looks(groups: Iterable[Key]) -> dict[Key, dict[str, Any]]:
    """Colour, marker and line of each group, as arguments of ``Axes.plot``.

    Uniform masks of several degrees have a shade for each, other families a colour of their own; where groups of one
    family and degree differ in their settings, colours follow the palette instead.
    """
    groups = list(groups)
    if len({key[:2] for key in groups}) < len(groups):
        alike = len({(key[:2], tuple(part for part in key[2:] if isinstance(part, str))) for key in groups}) == 1
        if len(groups) > (2 if alike else len(_CYCLE)):  # sizes alone differ, or there are too many for the palette
            shades = degree_colours(list(range(len(groups))))
            return {key: {"color": shades[place], "marker": "o"} for place, key in enumerate(groups)}
        return {key: {"color": colour, "marker": "o"} for key, colour in zip(groups, _CYCLE, strict=False)}
    degrees = {key[1] for key in groups if key[0] == "uniform"}
    colours = {**FAMILIES, "": BLUE}
    shades = degree_colours(list(degrees)) if len(degrees) > 1 else {}
    return {
        key: {
            "color": shades[key[1]] if shades and key[0] == "uniform" else colours.get(key[0], GREY),
            "marker": _MARKERS.get(key[0], "x" if key[0] else "o"),
            "ls": "-" if key[0] in ("uniform", "") else "--",
        }
        for key in groups
    }
