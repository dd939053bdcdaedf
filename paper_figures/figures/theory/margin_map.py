"""Expansion, flatness and identifiability: exact margins of the l1 bound and exact uniqueness on small dictionaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from expander_theory.plotting import BLACK, TWO_COLUMNS, Drawing, Table, panels
from expander_theory.results import IdentifiabilityRecord, fields_of, read_ledger, records_of

KIND = "identifiability"
NOTE = (
    "Margin: the least ||Wx||_1 / sum_j ||w_j||_1 |x_j| over all codes of at most 2k nonzeros, by enumeration; "
    "bound: 1 - 2 Tbar(eps_2k d), what eps and flatness prove (RIP1-1). Unique: every 2k columns are independent, by "
    "exact ranks. The paper asks for 2 C^2 eps_2k < 1; eps_2k < 1/2 alone is enough where no entry vanishes (IDN-1)."
)


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where it holds nothing."""
    identity, found = read_ledger(ledger)
    records = records_of(found, IdentifiabilityRecord) if identity.get("kind") == KIND else []
    if not records:
        return None
    records.sort(key=lambda r: (r.flatness, r.eps, r.m, r.draw))
    figure, (left, right) = panels(2, TWO_COLUMNS / 2, 2.7, sharey=True)
    levels = sorted({r.flatness for r in records})
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(levels)))
    for shade, level in zip(shades, levels, strict=True):
        some = [r for r in records if r.flatness == level]
        for unique in (True, False):
            these = [r for r in some if r.unique == unique]
            style = {"color": shade} if unique else {"mfc": "white", "mec": shade}
            label = f"$C = {level:g}$" if unique else None
            left.plot([r.eps for r in these], [r.margin for r in these], "o", ms=4, lw=0, label=label, **style)
            right.plot([r.bound for r in these], [r.margin for r in these], "o", ms=4, lw=0, **style)
    left.axvline(0.5, color=BLACK, lw=0.8, ls="--", label="$\\varepsilon_{2k} = 1/2$")
    left.set(xlabel="$\\varepsilon_{2k}$, exact", ylabel="smallest $\\|Wx\\|_1 / \\|x\\|_{1,\\lambda}$")
    ends = [min(r.bound for r in records), 1]
    right.plot(ends, ends, color=BLACK, lw=0.8, ls="--", label="margin = bound (nothing may lie below)")
    right.set(xlabel="bound from $\\varepsilon_{2k}$ and flatness")
    left.set_ylim(-0.03, 1.03)
    right.legend(frameon=False, fontsize=7, loc="upper left")
    left.legend(frameon=False, fontsize=7)
    size = f"$n = {identity['n']}$, $d = {identity['d']}$, $k = {identity['k']}$"
    figure.suptitle(f"{size}: filled where all $k$-sparse codes are unique, hollow where not", fontsize=9)
    table = Table("Uniqueness by expansion", _table(records), NOTE)
    return Drawing(
        {"margin_map": figure},
        {"margin_map": [dict(sorted(fields_of(record).items())) for record in records]},
        {"margin_map": table},
    )


def _table(records: list[IdentifiabilityRecord]) -> list[dict[str, Any]]:
    """Dictionaries by eps_2k: how many are unique, margins against bounds, and how many meet the paper's condition."""
    rows = []
    for low, high in ((0.0, 0.25), (0.25, 0.375), (0.375, 0.5), (0.5, 0.6), (0.6, 1.01)):
        some = [r for r in records if low <= r.eps < high]
        if some:
            rows.append(
                {
                    "eps_2k": f"[{low:g}, {min(high, 1):g})",
                    "dictionaries": len(some),
                    "unique": sum(r.unique for r in some),
                    "2 C^2 eps_2k < 1": sum(2 * r.flatness**2 * r.eps < 1 for r in some),
                    "least margin": min(r.margin for r in some),
                    "least margin - bound": min(r.margin - r.bound for r in some),
                }
            )
    return rows
