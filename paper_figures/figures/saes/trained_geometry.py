"""Geometry of trained decoders over d, the paper's ratios, and collisions of the supports that are active together."""

from __future__ import annotations

from pathlib import Path

from expander_theory.dictionaries import expected_deficit
from expander_theory.plotting import BLACK, BLUE, GREEN, ORANGE, RED, TWO_COLUMNS, Drawing, Table, panels
from paper_figures.figures.saes.suite import Group, Row, group
from paper_figures.published import RATIOS

_NOTE = (
    "Flatness C_j = sqrt(d) max|w_ij| of unit columns. mu: coherence. Babel: the k that OMP-3 certifies. eps: at least "
    "that of a set that was found (greedy and swaps), and the count 1 - m/(ds). R_id = 2 C^2 eps_2k, R_OMP = "
    "C^2 eps_(k+1) (2k + 1) with the largest C and that eps: the paper's conditions ask for less than 1, and these are "
    "lower bounds on them, so where they are 1 or more the conditions fail. Deficit: 1 - |N(S)| / (d |S|) of the "
    "supports S of tokens' active features; independent random supports would have the expected one."
)


def draw(ledger: Path) -> Drawing | None:
    """Draw from the suite's ledger; None where the frontier has no sparse SAE yet."""
    found = group(ledger, "frontier")
    rows = _rows(found) if found is not None else []
    if found is None or not rows:
        return None
    figure, axes = panels(3, TWO_COLUMNS / 3, 2.6)
    d = [row["d"] for row in rows]
    axes[0].plot(d, [row["C median"] for row in rows], color=BLUE, marker="o", ms=3.5, label="$C$, median")
    axes[0].plot(d, [row["C largest"] for row in rows], color=BLUE, marker="o", ms=3.5, ls=":", label="$C$, largest")
    axes[0].plot(d, [d_**0.5 for d_ in d], color=BLACK, lw=0.8, ls="--", label="$\\sqrt{d}$, the most")
    axes[0].set(ylabel="flatness", yscale="log")
    for name, colour in (("R_id", GREEN), ("R_OMP", RED)):
        axes[1].plot(
            d, [row[name] for row in rows], color=colour, marker="s", ms=3.5, label=f"${name[0]}_{{{name[2:]}}}$"
        )
    axes[1].axhline(1, color=BLACK, lw=0.8, ls="--", label="the conditions ask for less")
    axes[1].set(ylabel="ratios of the paper, at $k$", yscale="log", ylim=(0.05, None))
    axes[2].fill_between(d, [row["deficit median"] for row in rows], [row["deficit 95 %"] for row in rows],
                         color=ORANGE, alpha=0.25, lw=0)  # fmt: skip
    axes[2].plot(d, [row["deficit median"] for row in rows], color=ORANGE, marker="o", ms=3.5, label="active supports")
    axes[2].plot(d, [row["deficit expected"] for row in rows], color=BLACK, lw=0.8, ls="--", label="random supports")
    axes[2].set(ylabel="deficit, median to 95 %")
    for axis in axes:
        axis.set_xlabel("$d$")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.legend(frameon=False, fontsize=7, loc="lower right" if axis is axes[1] else "upper left")
    figure.suptitle(found.place, fontsize=9)
    table = Table("Geometry of trained decoders", rows, f"{_NOTE} {RATIOS}")
    return Drawing({"trained_geometry": figure}, {"trained_geometry": rows}, {"trained_geometry": table})


def _rows(found: Group) -> list[Row]:
    """The first seed of each degree."""
    rows = []
    for _, seeds in found.variants():
        row = seeds[0]
        if row.collisions is None:
            continue
        g, c, active = row.geometry, row.collisions, row.l0
        m, d = row.m, row.d
        rows.append(
            {
                "SAE": row.name,
                "d": d,
                "C median": g.flatness_median,
                "C largest": g.flatness_largest,
                "mu": g.coherence,
                "k by Babel": g.babel_k,
                "eps_2k found": g.eps_2k_found,
                "eps_2k count": g.eps_2k_count,
                "R_id": g.R_id,
                "R_OMP": g.R_OMP,
                "deficit median": c.deficit_median,
                "deficit 95 %": c.deficit_95,
                "deficit expected": expected_deficit(m, d, active),
            }
        )
    return sorted(rows, key=lambda row: row["d"])
