"""Theory and practice on trained decoders: certified k beside the recovery rate of planted codes."""

from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D

from expander_theory.ledger import read_ledger
from expander_theory.statistics import fit_boundary
from paper_figures.output import Drawing, Table
from paper_figures.style import BLACK, BLUE, GREEN, ORANGE, panels

NOTE = (
    "Rates: planted k-sparse codes (uniform supports, normal coefficients, no noise) whose exact support OMP returns; "
    "'-' where a smaller k already had no success. k50: logistic 50 % point, '>K' where the rate is still above 1/2 at "
    "the largest K tried. Certified k holds for every code. 'signs' and 'gaussian' are random values on the same mask "
    "(dense: a Gaussian dictionary of the same size)."
)
_COLOURS = {"trained": BLUE, "signs": GREEN, "gaussian": ORANGE}


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where there is nothing to draw."""
    identity, records = read_ledger(ledger)
    ks = identity["planted"]["ks"]
    measures = {(r["dictionary"], r["values"]): r["measures"] for r in records if "measures" in r}
    rates = {(r["dictionary"], r["values"], r["solver"]): r["rates"] for r in records if "rates" in r}
    shown = [key for key in measures if (*key, "omp") in rates]
    if not shown:
        return None
    names = list(dict.fromkeys(name for name, _ in shown))
    figure, axes = panels(len(names), width=2.6, sharey=True)
    for axis, name in zip(axes, names, strict=True):
        for values in (v for n, v in shown if n == name):
            for solver, style in (("omp", "-"), ("topk", ":")):
                points = rates.get((name, values, solver))
                if points:
                    _curve(
                        axis, points, _COLOURS[values], style, f"{values}, {'OMP' if solver == 'omp' else 'tied TopK'}"
                    )
        certified = measures[name, "trained"]["k certified by Babel (OMP-3)"]
        axis.axvline(max(certified, 0.5), color=BLACK, ls="--", lw=1)
        axis.annotate(
            f"certified: {certified}", (max(certified, 0.5), 0), xytext=(3, 2), textcoords="offset points", size=7
        )
        axis.set_xscale("log", base=2)
        axis.set(title=name, xlabel="$k$", ylim=(-0.03, 1.03))
        axis.xaxis.set_major_formatter("{x:g}")
    axes[0].set_ylabel("exact support recovery rate")
    handles = {label: h for axis in axes for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    handles["certified for every code (Babel), trained"] = Line2D([], [], color=BLACK, ls="--", lw=1)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3, frameon=False)
    flat = [
        {"dictionary": name, "values": values, "solver": solver, **point}
        for (name, values, solver), points in rates.items()
        for point in points
    ]
    table = [_row(name, values, measures[name, values], rates[name, values, "omp"], ks) for name, values in shown]
    title = "Trained decoders: what is certified, and what OMP recovers"
    return Drawing({"meeting_point": figure}, {"meeting_point": flat}, {"meeting_point": Table(title, table, NOTE)})


def _curve(axis: Any, points: list[dict[str, Any]], colour: str, style: str, label: str) -> None:
    k = [point["k"] for point in points]
    axis.plot(k, [point["successes"] / point["trials"] for point in points], style, color=colour, lw=1.4, label=label)
    axis.fill_between(k, [p["low"] for p in points], [p["high"] for p in points], color=colour, alpha=0.15, lw=0)


def _row(
    name: str, values: str, measured: dict[str, Any], points: list[dict[str, Any]], ks: list[int]
) -> dict[str, Any]:
    by_k = {p["k"]: f"{p['successes'] / p['trials']:.2f}" for p in points}
    return {
        "dictionary": name,
        "values": values,
        "decoder values": measured["decoder values"],
        "C mean": measured["flatness C, mean"],
        "C max": measured["flatness C, largest"],
        "mu": measured["coherence mu"],
        "k certified (coherence)": measured["k certified by coherence (OMP-2)"],
        "k certified (Babel)": measured["k certified by Babel (OMP-3)"],
        "OMP k50": _k50(points),
        **{f"k={k}": by_k.get(k, "-") for k in ks},
    }


def _k50(points: list[dict[str, Any]]) -> str:
    if len(points) > 1:
        fit = fit_boundary([p["k"] for p in points], [p["successes"] for p in points], [p["trials"] for p in points])
        if fit.status == "fitted":
            return f"{fit.centre:.0f}"
        if fit.status in ("all_succeed", "outside_grid"):
            return f">{points[-1]['k']}"
    return "-"
