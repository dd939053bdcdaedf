"""The sparsity that theorems certify, beside the one up to which codes are recovered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from expander_theory.base import InvalidArgument, InvalidFile, require_choice
from expander_theory.plotting._axes import axes_or_new
from expander_theory.plotting._curves import SETTINGS, looks, names, setting_name, split
from expander_theory.plotting._inputs import (
    Place,
    Row,
    as_row,
    cells_of,
    is_json,
    is_place,
    listed,
    rows_of_json,
    stored_records,
)
from expander_theory.plotting.boundary import fitted_rows
from expander_theory.plotting.phase_diagram import certified_sizes
from expander_theory.simulation import boundaries

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ALLOWED = (
    "a sweep's ledger, certificates (paths, or what certify returns), or rows with m, n, d, k and meaning, which says "
    "what is true up to this k"
)
_NEEDS = ("m", "n", "d", "k", "meaning")
_OVER = ("m", "n", "d")
EMPIRICAL = "recovered at rate 1/2 (fitted)"
PROVED = "proved for every code (Babel; median over drawn dictionaries)"


def plot_certified(
    results: Place | Mapping[str, Any] | Sequence[Any],
    *,
    ax: Axes | None = None,
    over: str | None = None,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> Axes:
    """Draw the k that is certified beside the k that is seen, on logarithmic axes, over m, n or d.

    Args:
        results: one of these, or a list of certificates and rows:

            * the ledger of a sweep (or the folder that holds it): for each size the median of the certified k over
              the dictionaries that the sweep drew for this (THEORY.md OMP-3), and the fitted k at rate 1/2;
            * the JSON file of a certificate, or what :func:`expander_theory.certificates.certify` returns: for each
              goal the largest k that any of its claims proves;
            * rows with m, n, d, k and ``meaning``, which is what the legend says; those whose k is None are left out.
        ax: where to draw; by default in a new figure, with a legend.
        over: "m", "n" or "d" along the horizontal axis; by default the first of them that differs between results.
        styles: by meaning, arguments of ``Axes.plot``. By default what is proved is dashed.

    A k of 0 is drawn at 0.7, since the axis is logarithmic.

    Raises:
        InvalidArgument: results of another kind, or another ``over``.
        InvalidFile: no such file, or one with nothing certified.
        MissingResource: matplotlib is not installed.
    """
    rows = certified_rows(results)
    if over is None:
        over = next((name for name in _OVER if len({row[name] for row in rows}) > 1), "m")
    require_choice("over", over, _OVER)
    axes = axes_or_new(ax)
    sizes = [name for name in ("m", "n") if name != over and len({row[name] for row in rows}) > 1]
    groups = split(rows, sizes, by_degree=over != "d")
    titles, colours = names(groups, sizes), looks(groups)
    proved = [*dict.fromkeys(row["meaning"] for row in rows if _is_proved(row["meaning"]))]
    for key, group in groups.items():
        for meaning in dict.fromkeys(row["meaning"] for row in group):
            points = sorted(
                (row[over], row["k"]) for row in group if row["meaning"] == meaning and row["k"] is not None
            )
            title = titles[key] if len(groups) > 1 else ""
            style = {"ms": 3.5, "lw": 1.2, "label": f"{title}: {meaning}" if title else meaning}
            if len(groups) > 1:
                style["color"] = colours[key]["color"]
            style |= styles[meaning] if styles and meaning in styles else _style(meaning, proved)
            axes.plot([x for x, _ in points], [max(k, 0.7) for _, k in points], **style)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    same = [f"${s} = {rows[0][s]}$" for s in ("m", "n") if s != over and len({row[s] for row in rows}) == 1]
    axes.set(xlabel=f"${over}$" + (f"  ({', '.join(same)})" if same else ""), ylabel="sparsity $k$")
    if ax is None:
        axes.legend(frameon=False, fontsize=8)
    return axes


def certified_rows(results: Any) -> list[Row]:
    """Rows that :func:`plot_certified` draws, from all that it takes: m, n, d, k, meaning, and family if known.

    Raises:
        InvalidArgument: results of another kind.
        InvalidFile: no such file, or one with nothing certified.
    """
    if is_place(results):
        return _stored(results)
    given = listed("results", [results] if isinstance(results, Mapping) else results, _ALLOWED)
    return [row for item in given for row in _given(item)]


def _stored(path: Place) -> list[Row]:
    if is_json(path):
        (certificate,) = rows_of_json(path, "certificate", "expander certify")
        return _claims(certificate)
    proved = [
        {"family": family, "d": d or m, "m": m, "n": n, "k": k, "meaning": PROVED}
        for (family, d), sizes in certified_sizes(stored_records(path)).items()
        for (m, n), k in sizes.items()
    ]
    if not proved:
        raise InvalidFile(path, "certifies nothing; `expander sweep` with --certified-draws records what is certified")
    return [*_empirical(fitted_rows(boundaries(cells_of(path)))), *proved]


def _empirical(fitted: Sequence[Row]) -> Iterator[Row]:
    """The k at rate 1/2; where one dictionary has several, what is true of each also says by which setting."""
    by_size: dict[tuple[Any, ...], list[Row]] = {}
    for row in fitted:
        by_size.setdefault((row["family"], row["d"], row["m"], row["n"]), []).append(row)
    differ = [s for s in SETTINGS if any(len({row[s] for row in same}) > 1 for same in by_size.values())]
    for row in fitted:
        about = {key: row[key] for key in ("family", "d", "m", "n")}
        ks = {key: row["m"] * row[name] for key, name in (("k", "k/m at 50 %"), ("low", "low"), ("high", "high"))}
        meaning = ", ".join([EMPIRICAL, *(setting_name(s, row[s]) for s in differ)])
        yield {**about, **ks, "meaning": meaning}


def _given(item: Any) -> list[Row]:
    if is_place(item):
        return _stored(item)
    if isinstance(item, Mapping) and "claims" in item:
        return _claims(item)
    return [as_row("results", item, _NEEDS, _ALLOWED)]


def _claims(certificate: Mapping[str, Any]) -> list[Row]:
    try:
        given = certificate["dictionary"]
        about = {"m": given["m"], "n": given["n"], "d": given.get("d", given["m"])}  # without a mask d = m
        best: dict[str, int] = {}
        for claim in certificate["claims"]:
            best[claim["goal"]] = max(best.get(claim["goal"], 0), claim["k"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidArgument("results", "holds a damaged certificate", "must have what certify returns") from error
    return [{**about, "k": k, "meaning": f"proved: {goal}"} for goal, k in best.items()]


def _is_proved(meaning: str) -> bool:
    return meaning.startswith("proved")


def _style(meaning: str, proved: Sequence[str]) -> dict[str, Any]:
    """What is seen is solid, what is proved is dashed; several proofs of the same k stand around each other."""
    if not _is_proved(meaning):
        return {"ls": "-", "marker": "o"}
    if len(proved) == 1:
        return {"ls": "--", "marker": "s"}
    place = proved.index(meaning)
    return {"ls": "--", "marker": _PROOFS[place % len(_PROOFS)], "mfc": "none", "ms": max(3, 11 - 2 * place)}


_PROOFS = ("s", "o", "D", "^", "v")
