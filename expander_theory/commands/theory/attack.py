"""``expander theorems attack``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from expander_theory.base import ExpanderTheoryError, require
from expander_theory.results import table

if TYPE_CHECKING:
    from expander_theory.results import AttackRecord


class AttackFailed(ExpanderTheoryError):
    """A statement was refuted, a mutant survived, or hypotheses were hardly ever met."""


@dataclass(frozen=True)
class Attack:
    """Try to refute statements by drawn examples and a numerical adversary. Exit 2 unless all goes as it must.

    A statement must stand with its hypotheses met often enough; a mutant must be refuted.
    """

    id: tyro.conf.Positional[tuple[str, ...]] = ()
    """Statements or mutants (default: every statement)."""
    mutants: bool = False
    """Attack the wrong variants of these statements too."""
    budget: Literal["quick", "normal", "thorough"] = "quick"
    """Examples per statement: 1,500, 8,000 or 60,000, and then the adversary."""
    seed: int = 0
    """Seed of the examples."""
    workers: int | None = None
    """Worker processes (default: the processors at hand)."""
    out: Path | None = None
    """Folder of a ledger of what is found, which the same command resumes; `expander figures` draws it."""
    counterexamples: bool = True
    """Print the counterexample of every mutant (leave them out with --no-counterexamples)."""

    def run(self) -> None:
        import tempfile

        from expander_theory.base import default_workers, require_seed
        from expander_theory.results import Ledger
        from expander_theory.theorems import campaign, find_statement, statements

        require_seed(self.seed)
        count = default_workers() if self.workers is None else self.workers
        require(count >= 1, "workers", count, "must be at least 1")
        chosen = [find_statement(id) for id in self.id] or list(statements().values())
        ids = list(dict.fromkeys(s.id for c in chosen for s in (c, *(c.mutants if self.mutants else ()))))
        identity = {"kind": "attack", "budget": self.budget, "seed": self.seed}
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) if self.out is None else self.out
            with Ledger(folder / "ledger.jsonl", identity) as ledger:
                records = campaign(ids, ledger, budget=self.budget, seed=self.seed, worker_count=count)
        self._print(records)
        bad = [record for record in records if not record.as_expected]
        if bad:
            raise AttackFailed("; ".join(_complaint(record) for record in bad))
        statements_, mutants = [sum(r.mutant == wrong for r in records) for wrong in (False, True)]
        print(f"\n{statements_} statements stand" + (f", {mutants} mutants refuted." if mutants else "."))

    def _print(self, records: "list[AttackRecord]") -> None:
        rows = [
            {
                "statement": r.id,
                "verdict": r.verdict,
                "tried": r.tried,
                "met": r.met,
                "met rate": f"{r.met_rate:.0%}",
                "smallest slack": r.smallest_slack,
                "found by": r.found_by,
                "seconds": r.seconds,
            }
            for r in records
        ]
        print(table(rows))
        for record in records:
            if record.counterexample is not None and (self.counterexamples or not record.mutant):
                print(f"\n{record.id}: refuted, slack {record.violation}\n{record.counterexample}")


def _complaint(record: "AttackRecord") -> str:
    if record.mutant:
        return f"mutant {record.id} survived {record.tried} examples"
    if record.verdict == "refuted":
        return f"{record.id} was refuted"
    return (
        f"{record.id} means little: its hypotheses were met by {record.met_rate:.1%} of the examples, "
        f"less than its floor of {record.floor:.0%}"
    )
