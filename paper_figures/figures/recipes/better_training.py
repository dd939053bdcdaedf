"""Does better training close the gap at fixed storage? More steps, revival, several pursuit steps, OMP in the loop."""

from __future__ import annotations

from pathlib import Path

from expander_theory.plotting import BLACK, BLUE, GREEN, Drawing, Table
from paper_figures.figures.saes.bars import rows_of_bars
from paper_figures.figures.saes.suite import INTERVALS, NULL, Member, data_rows, group, null_rows, table_rows


def draw(ledger: Path) -> Drawing | None:
    """Draw from the suite's ledger; None where the experiment has no SAE yet."""
    found = group(ledger, "better-training")
    if found is None:
        return None
    reference = found.rows[0].variant

    def colour(row: Member) -> str:
        dense = row.architecture == "dense"
        return BLACK if dense else BLUE if row.variant == reference else GREEN

    note = (
        f"{found.note} {INTERVALS} {NULL} All at the learning rate of the plain expander SAE. OMP in the loop trains "
        "no encoder: that SAE is measured with OMP's codes throughout."
    )
    table = Table("Better training at fixed storage", [*table_rows(found), *null_rows(found)], note)
    figure = rows_of_bars(found, colour, reference)
    return Drawing(
        {"better_training": figure},
        {"better_training": data_rows(found.with_null)},
        {"better_training": table},
    )
