"""Table of masks: overlaps, coherence, certified k, and expansion with its status."""

from pathlib import Path
from typing import Any

from expander_theory.plotting import Drawing, Table
from expander_theory.results import ExpansionRow, MaskRecord, read_ledger, records_of

NOTE = (
    "Expansion: the smallest |N(S)|/(d|S|) over sets S of that size; a single number is exact, an interval is "
    "[proved for every set, attained by a set that was found]. mu and certified k: random signs on the mask."
)


def draw(ledger: Path) -> Drawing | None:
    """The table from the experiment's ledger; None where there is nothing to show."""
    about, records = read_ledger(ledger)
    if about.get("kind") != "mask geometry":
        return None
    rows = [_row(record) for record in records_of(records, MaskRecord)]
    return Drawing(tables={"masks": Table("Masks", rows, NOTE)}) if rows else None


def _row(record: MaskRecord) -> dict[str, Any]:
    sizes = {f"expansion, size {e.size}": _bounds(e) for e in record.expansion if e.size > 1}
    return {
        "mask": record.name,
        "m": record.m,
        "n": record.n,
        "d": record.d,
        "largest overlap": record.largest_overlap,
        "row degrees": f"{record.row_degree_least}-{record.row_degree_largest}",
        "mu": record.coherence,
        "k certified (Babel)": record.k_babel,
        **sizes,
    }


def _bounds(entry: ExpansionRow) -> str:
    low, high = entry.lower, entry.upper
    return f"{low:.4g}" if entry.status == "exact" else f"[{low:.4g}, {high:.4g}]"
