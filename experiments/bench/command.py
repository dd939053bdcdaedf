"""What all benchmarks share around the measurement: cases, a ledger that resumes, pyperf's files, command line."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tqdm import tqdm

from expander_theory.base import ExpanderTheoryError, progress_bar, require, require_seed
from expander_theory.results import Ledger
from experiments.bench.driver import Measured

Record = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One record of a ledger: the fields that name it, and what measures the others."""

    key: Record
    measure: Callable[[], Record]


def measure_cases(
    cases: Iterable[Case],
    path: Path | None,
    identity: Mapping[str, Any],
    *,
    name: str,
    show: Callable[[Record], str] | None = None,
) -> list[Record]:
    """Measure every case that the ledger does not hold yet; whole cases survive an interruption.

    Args:
        path: of the ledger; None keeps nothing.
        identity: of the ledger. One of another identity is refused.
        name: for the progress bar.
        show: the text that is printed of each record, stored ones included.

    Returns:
        all records, in the order of the cases.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(path, identity)) if path else None
        stored = list(ledger.records) if ledger else []
        known = [(case, next((r for r in stored if case.key.items() <= r.items()), None)) for case in cases]
        todo = sum(record is None for _, record in known)
        bar = stack.enter_context(progress_bar(total=todo, unit="case", desc=name, show=todo > 0))
        found = []
        for case, record in known:
            if record is None:
                record = {**case.key, **case.measure()}
                if ledger:
                    ledger.append(record)
                bar.update()
            if show:
                tqdm.write(f"\n{show(record)}")
            found.append(record)
    return found


@dataclass(frozen=True)
class Benchmark(ABC):
    """What all benchmarks have in common: options, ledger, exit code."""

    title: ClassVar[str]
    repeats: int = 3
    """Interleaved repeats of every contender, after a first pass."""
    seed: int = 0
    """Of all that is random."""
    out: Path | None = None
    """A ledger (JSON lines) for all numbers and the machine; the same command goes on where it stopped."""
    pyperf: Path | None = None
    """A new file of all times for `python -m pyperf compare_to`."""

    @abstractmethod
    def cases(self) -> list[Case]:
        """What is measured. A record's "measured" lists its contenders, "faults" where answers differ."""

    @abstractmethod
    def show(self, record: Record) -> str:
        """The tables of a record, in Markdown."""

    @property
    def identity(self) -> Record:
        """What the records of a ledger have in common."""
        return {"kind": self.title, "repeats": self.repeats, "seed": self.seed}

    def check(self) -> None:
        """Refuse options out of range.

        Raises:
            InvalidArgument: names option, value and range.
        """
        require(self.repeats > 0, "repeats", self.repeats, "must be above 0")
        require_seed(self.seed)
        taken = self.pyperf is not None and self.pyperf.exists()
        require(not taken, "pyperf", self.pyperf, "must not exist")

    def closing(self, records: list[Record]) -> str:
        """What is printed after all tables."""
        return ""

    def run(self) -> None:
        """Measure and print; exit with code 1 where answers differ and rounding does not explain it.

        Raises:
            InvalidArgument: an option out of range.
            InvalidFile: ``out`` is no ledger of these options on this machine.
        """
        self.check()
        records = measure_cases(self.cases(), self.out, self.identity, name=self.title, show=self.show)
        print(self.closing(records))
        if self.pyperf is not None:
            write_pyperf(self.pyperf, records)
        faults = [fault for record in records for fault in record["faults"]]
        if faults:
            sys.exit("Answers differ, and rounding does not explain it:\n" + "\n".join(faults))
        print("Answers agree wherever rounding does not decide.")


def measured_in(record: Record) -> list[Measured]:
    """The contenders of a record, those of a ledger included."""
    return [Measured(**one) for one in record["measured"]]


def write_pyperf(path: Path, records: Iterable[Record]) -> None:
    """All times as a suite of pyperf: seconds of a unit of work, by case, contender and part."""
    import pyperf

    found = []
    for record in records:
        key = [str(record[name]) for name in ("size", "dtype") if name in record]
        for one in measured_in(record):
            for part, seconds in one.seconds.items():
                name = ", ".join([*key, one.name, part])
                values = [spent / one.batch for spent in seconds]
                run = pyperf.Run(values, metadata={"name": name, "unit": "second"}, collect_metadata=False)
                found.append(pyperf.Benchmark([run]))
    pyperf.BenchmarkSuite(found).dump(str(path))


def main(kind: type[Benchmark]) -> None:
    """Run a benchmark by the options of the command line."""
    import tyro

    try:
        tyro.cli(kind).run()
    except ExpanderTheoryError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        print(f"error: no package {error.name}: pip install 'expander-theory[sae,bench]'", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\nStopped; with --out the same command goes on from the last whole case.", file=sys.stderr)
        raise SystemExit(130) from None
