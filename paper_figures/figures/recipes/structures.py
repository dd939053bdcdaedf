"""Structures of a dictionary that were tried beside learned supports: a table."""

from __future__ import annotations

from pathlib import Path

from expander_theory.plotting import Drawing, Table
from expander_theory.results import StructureRecord, read_ledger, records_of, with_interval
from paper_figures.figures.saes.suite import model_name


def draw(ledger: Path) -> Drawing | None:
    """Tabulate a ledger of structures; None where it is of another kind or empty."""
    identity, records = read_ledger(ledger)
    found = records_of(records, StructureRecord)
    if identity.get("kind") != "structures" or not found:
        return None
    rows = [
        {
            "dictionary": record.label,
            "n": record.n,
            "values": record.decoder_values,
            "KB packed": record.bytes_packed / 1000,
            "FVU": with_interval(record, "fvu"),
            "CE recovered (zero)": with_interval(record, "recovered_zero"),
            "CE above the first's": with_interval(record, "ce_above_first") if record.first else "",
        }
        for record in found
    ]
    note = (
        f"{model_name(identity['model'])}, {identity['hook']} of layer {identity['layer']}: m = {identity['m']}, "
        f"k = {found[0].k}, {found[0].steps} steps of {identity['batch']} tokens, one seed; all are trained for and "
        "coded by OMP. Principal directions take m^2 values, a random rotation none; coordinates take no value. CE in "
        "nats a token, on the same contexts; 95 % bootstrap over held-out documents."
    )
    return Drawing(tables={"structures": Table("Structures beside learned supports", rows, note)})
