"""Success rate against the sparsity k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from expander_theory.base import InvalidArgument
from expander_theory.plotting._axes import axes_or_new
from expander_theory.plotting._curves import looks, names, split
from expander_theory.plotting._inputs import (
    Place,
    Row,
    as_row,
    cells_of,
    is_json,
    is_place,
    listed,
    rows_of_json,
    stored_json,
)
from expander_theory.simulation import Cell, cell_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ALLOWED = "a sweep's ledger, its cells, or rates: records with k, low, high, and rate or successes and trials"
_FEW = 10  # curves that a legend within the axes can name


def plot_recovery_curves(
    results: Place | Sequence[Any],
    *,
    ax: Axes | None = None,
    certified: int | Mapping[str, int] | None = None,
    band: float = 0.15,
    **line: Any,
) -> Axes:
    """Draw the share of codes recovered against k, with its interval, one curve for all that differs in k alone.

    Args:
        results: the ledger of a sweep (or the folder that holds it); the cells that
            :func:`expander_theory.simulation.run_sweep` returns; the JSON file that ``expander recover`` writes for
            planted codes; or what :func:`expander_theory.planted_recovery` gives. The band is the 95 % interval of
            each: Wilson's for these. Or a sampled certificate, as its JSON file or as
            :func:`expander_theory.certificates.certify_supports` returns it: the share of the supports drawn that
            have the property, and below it a band down to what is proved of all supports.
        ax: where to draw; by default in a new figure, with a legend.
        certified: the k up to which recovery is proved for every code, as a vertical line; or several, by what the
            legend says of each. 0 is drawn left of 1.
        band: opacity of the interval's band; 0 for none.
        line: arguments of ``Axes.plot`` for every curve, such as ``color`` or ``label``.

    Raises:
        InvalidArgument: results of another kind.
        InvalidFile: no such file, or one that holds no rates.
        MissingResource: matplotlib is not installed.
    """
    rows = _rows(results)
    axes = axes_or_new(ax)
    sizes = tuple(name for name in ("m", "n") if all(name in row for row in rows))
    groups = split(rows, sizes)
    titles, styles = names(groups, sizes), looks(groups)
    for key, group in groups.items():
        group = sorted(group, key=lambda row: row["k"])
        k = [row["k"] for row in group]
        style = {"ms": 2.5, "lw": 1.1, "label": titles[key] or "planted codes", **styles[key], **line}
        (drawn,) = axes.plot(k, [row["rate"] for row in group], **style)
        if band:
            low, high = ([row[end] for row in group] for end in ("low", "high"))
            axes.fill_between(k, low, high, color=drawn.get_color(), alpha=band, lw=0)
    if certified is not None:
        lines = certified if isinstance(certified, Mapping) else {"certified for every code": certified}
        for place, (label, k) in enumerate(lines.items()):
            axes.axvline(max(k, 0.7), color="k", ls=("--", ":", "-.")[place % 3], lw=0.9, label=label)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="sparsity $k$", ylabel=_measure(rows), ylim=(-0.04, 1.04))
    if ax is None:
        columns = 1 if len(groups) <= _FEW else 2
        axes.legend(frameon=False, fontsize=8 if len(groups) <= _FEW else 6, ncols=columns)
    return axes


def _rows(results: Any) -> list[Row]:
    if is_place(results):
        if not is_json(results):
            return cell_rows(cells_of(results))
        kind, stored = stored_json(results)
        results = stored if kind == "sampled" else rows_of_json(results, "rates", "expander recover --out")
    if isinstance(results, Mapping) and "curve" in results:
        return _shares(results)
    given = listed("results", results, _ALLOWED)
    if all(isinstance(item, Cell) for item in given):
        return cell_rows([cell for cell in given if cell.trials])
    return [_rate(as_row("results", item, ("k", "low", "high"), _ALLOWED)) for item in given]


def _shares(certificate: Mapping[str, Any]) -> list[Row]:
    """The curve of a sampled certificate."""
    try:
        claim, samples = certificate["claim"], certificate["claim"]["samples"]
        law = "an SAE's supports" if claim["codes"] else "supports"
        about = {"values": f"{claim['goal']}, {law}", "success": "share of supports"}
        return [
            {
                **about,
                "k": r["k"],
                "rate": r["certified"] / samples,
                "low": float(r["share"]),
                "high": r["certified"] / samples,
            }
            for r in certificate["curve"]
        ]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InvalidArgument(
            "results", "holds a damaged certificate", "must have what certify_supports returns"
        ) from error


def _rate(row: Row) -> Row:
    if "rate" not in row:
        row = as_row("results", row, ("successes", "trials"), _ALLOWED)
        row["rate"] = row["successes"] / row["trials"]
    return row


def _measure(rows: Sequence[Row]) -> str:
    measures = {row.get("success") for row in rows}
    if all("share of supports" in str(measure) for measure in measures):
        return "share of supports"
    return "share recovered" if None in measures or len(measures) > 1 else f"share recovered ({measures.pop()})"
