"""Attacks on many statements, on several processes, into a ledger that a later run resumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed

from expander_theory.base import progress_bar
from expander_theory.results import AttackRecord, Ledger
from expander_theory.simulation import open_workers
from expander_theory.theorems.registry import find_statement
from expander_theory.theorems.searching.search import Report, attack
from expander_theory.theorems.slack import TOLERANCE, Number, shown


def campaign(
    ids: Sequence[str], ledger: Ledger, *, budget: str, seed: int, worker_count: int = 1, progress: bool = True
) -> list[AttackRecord]:
    """Attack every statement or mutant named, and return one record each, in the order of ``ids``.

    What the (open) ledger holds already is not attacked again. The records depend on the statement, the budget and
    the seed only, but for the counterexample's size (shrinking stops after some seconds) and the seconds.

    Raises:
        InvalidArgument: an unknown id or budget.
    """
    ids = [find_statement(id).id for id in ids]
    done = {record.id: record for record in ledger.of(AttackRecord)}
    todo = [id for id in ids if id not in done]
    with (
        open_workers(worker_count) as executor,
        progress_bar(total=len(todo), unit="statement", desc="attack", show=progress) as bar,
    ):
        running = [executor.submit(_attack, id, budget, seed) for id in todo] if worker_count > 1 else []
        finished: Iterator[AttackRecord] = (
            (future.result() for future in as_completed(running))
            if running
            else (_attack(id, budget, seed) for id in todo)
        )
        for record in finished:
            ledger.append(record)
            done[record.id] = record
            bar.update(1)
    return [done[id] for id in ids]


def _attack(id: str, budget: str, seed: int) -> AttackRecord:
    return as_record(attack(find_statement(id), budget=budget, seed=seed), budget, seed)


def as_record(report: Report, budget: str, seed: int) -> AttackRecord:
    """A report as a record: counts, smallest slack, verdict, counterexample as text."""
    slack = report.tightest
    return AttackRecord(
        id=report.statement.id,
        mutant=report.statement.wrong,
        budget=budget,
        seed=seed,
        tried=report.tried,
        met=report.met,
        moves=report.moves,
        met_rate=round(report.met_rate, 4),
        floor=report.statement.floor,
        smallest_slack=None if slack is None else _shown(slack.low),
        smallest_slack_value=None if slack is None else max(-1e300, min(1e300, round(float(slack.low), 9))),
        tightest=None if report.tightest_instance is None else str(report.tightest_instance),
        verdict=report.verdict,
        as_expected=report.as_expected,
        counterexample=None if report.counterexample is None else str(report.counterexample),
        violation=None if report.counterexample_slack is None else _shown(report.counterexample_slack.low),
        found_by=report.found_by,
        seconds=round(report.seconds, 2),
    )


def _shown(value: Number) -> str:
    return "0" if abs(value) <= TOLERANCE else shown(value)
