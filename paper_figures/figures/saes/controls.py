"""Is it the sparse, diverse support, or the count of values? Controls at one number of decoder values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expander_theory.plotting import BLACK, BLUE, GREY, ORANGE, PURPLE, RED, Drawing, Table
from paper_figures.figures.saes.bars import rows_of_bars
from paper_figures.figures.saes.suite import INTERVALS, NULL, Member, data_rows, group, null_rows, table_rows
from paper_figures.published import CONTROLS

_COLOURS = {"uniform": BLUE, "euler-square": ORANGE, "overlap-limited": PURPLE}


def draw(ledger: Path) -> Drawing | None:
    """Draw from the suite's ledger; None where the experiment has no SAE yet."""
    found = group(ledger, "controls")
    if found is None:
        return None
    reference = found.rows[0].variant
    figure = rows_of_bars(found, _colour, reference)
    note = (
        f"{found.note} {INTERVALS} All but the last three have as many decoder values as the expander "
        "(irregular: on average; factored: in its factors). Identical in groups: 16 columns share a support. "
        "Clustered: disjoint blocks of d rows. Every one at its own learning rate; pruned ones at the expander's. "
        f"{NULL} {CONTROLS}"
    )
    table = Table("Controls", [*table_rows(found), *null_rows(found)], note)
    return Drawing(
        {"controls": figure},
        {"controls": data_rows(found.with_null)},
        {"controls": table},
    )


def _colour(row: Member) -> Any:
    if row.pruned:
        return RED
    if row.architecture == "dense":
        return BLACK
    return _COLOURS.get(row.family, GREY)
