"""``expander ledger export``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from expander_theory.base import require
from expander_theory.results import require_new, write_csv


@dataclass(frozen=True)
class Export:
    """Write a ledger as a table, CSV or Parquet.

    A sweep gives a row per task with its counts, other ledgers one per record.

    A column has one type; lists are JSON text in CSV, as is what has no type in common. A Parquet file also has the
    ledger's identity and provenance, in its metadata under "expander-theory".
    """

    path: tyro.conf.Positional[Path]
    """A ledger, or the folder that holds it."""
    out: Path
    """File to write."""
    format: Literal["csv", "parquet"] = "csv"
    """parquet needs pyarrow: pip install 'expander-theory[parquet]'."""
    trials: bool = False
    """Of a sweep, a row per block of trials, with one character a trial, instead of one per task."""
    records: bool = False
    """A row per record as it is, of a sweep too; nested fields become columns named outer.inner."""
    force: bool = False
    """Overwrite --out."""

    def run(self) -> None:
        from expander_theory.results import find_ledger, read_contents
        from expander_theory.simulation import csv_rows, is_of_task, is_sweep, ledger_rows, write_parquet

        require(not (self.trials and self.records), "trials", True, "does not go with --records")
        require_new(self.out, self.force)
        path = find_ledger(self.path)
        contents = read_contents(path)
        kind = "blocks" if self.trials else "tasks" if is_sweep(contents) and not self.records else "records"
        rows = ledger_rows(path, contents, kind)
        if self.format == "parquet":
            write_parquet(self.out, rows, contents)
        else:
            write_csv(self.out, csv_rows(rows))
        print(f"{len(rows)} {kind}, {len(rows[0])} columns: {self.out}")
        others = sum(not is_of_task(record) for record in contents.records)
        if kind != "records" and others:
            print(f"left out: {others} records that are no trials (--records exports every record)")
