"""What ``expander sweep`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expander_theory.results import table, write_csv
from expander_theory.simulation import (
    Cell,
    Estimate,
    FindBoundary,
    Ladder,
    Rounds,
    blocks_of,
    boundaries,
    cell_rows,
)


def show_cells(counted: Sequence[Cell], path: Path) -> None:
    """Rates and fitted boundaries; all of the rates to a CSV file."""
    rows, fitted = cell_rows(counted), boundaries(counted)
    if len(rows) <= _SHOWN:
        print(f"Success rates, with 95 % Wilson intervals\n\n{_brief(rows)}")
    if fitted:
        print(f"\nFitted 50 % boundary in k/m (logistic, Firth-penalised; 95 % interval)\n\n{_brief(fitted)}")
    print(f"\nrates of {len(rows)} cells: {write_csv(path, rows)}")


def show_brackets(ladders: Sequence[Ladder], schedule: FindBoundary, records: Sequence[Any]) -> None:
    """What is certain of each ladder's boundary, whenever its trials stopped."""
    known, rows = blocks_of(records), []
    for ladder in ladders:
        rounds = Rounds.start(ladder, schedule, known)
        rounds.next_round()  # goes over what the schedule asked for, as far as it is known
        seen = {k: [block.outcome for block in blocks.values()] for k, blocks in rounds.counted().items()}
        found, e = schedule.bracket(ladder, seen), ladder.base.ensemble
        rows.append(
            {
                **{"family": e.family, "d": e.d, "m": e.m, "n": e.n},
                "k/m at least": None if found.low_k is None else found.low_k / e.m,
                "k/m at most": None if found.high_k is None else found.high_k / e.m,
                "trials": found.trials,
                "status": found.status,
            }
        )
    level = 100 * schedule.level
    print(f"50 % boundary, bracketed with {level:g} % confidence at any time, if rates fall with k\n\n{table(rows)}\n")


def show_estimate(found: Estimate, workers: int) -> None:
    """The outcome of a dry run."""
    if found.timed:
        took = f"about {_duration(found.seconds / workers)} with {workers} worker{'s' if workers > 1 else ''}"
        took += f", judging by {found.timed} timed cell{'s' if found.timed > 1 else ''}"
    else:
        took = "unknown: one block of the smallest cell takes longer than the calibration may"
    rows = {
        "ladders (family, size, solver)": str(found.ladders),
        "cells": str(found.cells),
        "trials at most": f"{found.trials} in {found.blocks} blocks",
        "time at most": took,
        "disk at most": f"about {found.disk / 1e6:.2g} MB",
    }
    print(table([{"dry run": name, "estimate": value} for name, value in rows.items()]))
    print("\nnothing was run or written")


def _brief(rows: Sequence[dict[str, Any]]) -> str:
    """A table of sizes, of results, and of settings that differ between rows; the CSV has everything."""
    kept = [key for key in rows[0] if key in _ALWAYS or (key in _SETTINGS and len({row[key] for row in rows}) > 1)]
    same = ", ".join(f"{key} {rows[0][key]}" for key in rows[0] if key in _SETTINGS and key not in kept)
    return f"{table([{key: row[key] for key in kept} for row in rows])}\n\n({same})"


_SHOWN = 40  # cells that fit a screen
_SETTINGS = (
    *("values", "codes", "noise", "success", "solver", "dictionary", "precision", "seed"),
    *("interval_of", "quarantined"),
)
_ALWAYS = ("family", "d", "m", "n", "k", "successes", "trials", "rate", "k/m at 50 %", "low", "high", "status")


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} s"
