"""How near attacks came to refuting each statement: smallest slack, and how often hypotheses were met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expander_theory.plotting import BLACK, BLUE, GREEN, RED, Drawing, Table, panels
from expander_theory.results import AttackRecord, read_ledger, records_of

KIND = "attack"
NOTE = (
    "Smallest slack of the conclusion among the examples that met the hypotheses, drawn and then moved by the "
    "numerical adversary; 0 (to 1e-9) means that the statement is attained: no better constant exists. Slacks have the "
    "units of their statements. Mutants are wrong variants; each must be refuted."
)
_COLUMNS = ("id", "verdict", "tried", "met", "met_rate", "smallest_slack", "found_by", "violation", "budget", "seed")
_FLOOR = 1e-9


def draw(ledger: Path) -> Drawing | None:
    """Draw from the ledger of `expander theorems attack --out`; None where there is nothing to draw."""
    identity, found = read_ledger(ledger)
    records = records_of(found, AttackRecord) if identity.get("kind") == KIND else []
    stated = [record for record in records if not record.mutant]
    true = [(record, slack) for record in stated if (slack := record.smallest_slack_value) is not None]
    if not true:
        return None
    height = 0.6 + 0.17 * len(true)
    figure, (slacks, rates) = panels(2, width=3.6, height=height, sharey=True)
    places = list(range(len(true)))[::-1]
    for place, (record, value) in zip(places, true, strict=True):
        attained = value <= _FLOOR
        colour = RED if record.verdict == "refuted" else GREEN if attained else BLUE
        slacks.plot(max(value, _FLOOR), place, "<" if attained else "o", color=colour, ms=4)
        rates.barh(place, record.met_rate, color=colour, height=0.6)
        rates.plot([record.floor] * 2, [place - 0.4, place + 0.4], color=BLACK, lw=0.8)
    slacks.set_yticks(places, [record.id for record, _ in true], size=7)
    slacks.set(xscale="log", xlabel="smallest slack found (triangle: attained, 0)", ylim=(-0.7, len(true) - 0.3))
    slacks.grid(axis="y", lw=0.3)
    rates.set(xlabel="share of examples that met the hypotheses (bar: floor)", xlim=(0, 1))
    rows = [_row(record) for record in records]
    table = Table("Statements under attack", rows, NOTE)
    return Drawing({"tightness": figure}, {"tightness": rows}, {"tightness": table})


def _row(record: AttackRecord) -> dict[str, Any]:
    return {name: "" if (value := getattr(record, name)) is None else value for name in _COLUMNS}
