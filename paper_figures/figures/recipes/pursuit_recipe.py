"""How is an SAE trained whose codes are OMP's? One choice of the recipe changed at a time."""

from __future__ import annotations

from pathlib import Path

from expander_theory.plotting import BLUE, GREEN, Drawing, Table
from paper_figures.figures.saes.bars import rows_of_bars
from paper_figures.figures.saes.suite import INTERVALS, NULL, Member, Row, data_rows, group, shown


def draw(ledger: Path) -> Drawing | None:
    """Draw from the suite's ledger; None where the experiment has no SAE yet."""
    found = group(ledger, "pursuit-recipe")
    if found is None:
        return None
    reference = found.rows[0].variant

    def colour(row: Member) -> str:
        return BLUE if row.variant == reference else GREEN

    note = (
        f"{found.note} {INTERVALS} {NULL} Every SAE has OMP's codes and, unless said, learns its supports; each row "
        "changes one choice of the recipe in the first row. CE above the recipe's: on the same contexts, nats a token."
    )
    rows = [_row(seeds) for _, seeds in found.variants()]
    return Drawing(
        {"pursuit_recipe": rows_of_bars(found, colour, reference)},
        {"pursuit_recipe": data_rows(found.with_null)},
        {"pursuit_recipe": Table("Training an SAE by pursuit: one choice at a time", rows, note)},
    )


def _row(seeds: list[Member]) -> Row:
    first = seeds[0]
    return {
        "recipe": first.label,
        "steps": first.steps,
        "learning rate": first.learning_rate,
        "seeds": len(seeds),
        "FVU": shown(seeds, "fvu"),
        "CE recovered (zero)": shown(seeds, "recovered_zero"),
        "CE above the recipe's": shown(seeds, "ce_above_first"),
        "dead": f"{sum(row.dead_share for row in seeds) / len(seeds):.1%}",
    }
