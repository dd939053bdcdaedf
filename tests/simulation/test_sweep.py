"""The engine: what a sweep counts depends on its columns and its schedule alone."""

import functools
import math
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.base.progress import SweepBar, progress_bar
from expander_theory.results import BlockRecord, read_records
from expander_theory.results.ledger import Ledger, read_ledger
from expander_theory.results.ledger_merge import merge_ledgers
from expander_theory.simulation.cells import blocks_of, cells, task_record
from expander_theory.simulation.estimate import estimate_sweep
from expander_theory.simulation.execution.executors import InlineExecutor
from expander_theory.simulation.planted import planted_recovery
from expander_theory.simulation.schedules.schedule import FindBoundary, FixedTrials, Ladder, ResolveCells
from expander_theory.simulation.sweep import run_certificates, run_sweep
from expander_theory.simulation.tasks import task_id
from expander_theory.simulation.trials import Block, Ensemble, Task

UNIFORM = Ensemble("uniform", 24, 60, 4)
COLUMNS = [
    Ladder(Task(UNIFORM, 1), (2, 4, 5, 6, 7, 8, 9, 12)),
    Ladder(Task(Ensemble("dense", 24, 60, 24, "gaussian"), 1), (2, 5, 8, 12)),
    Ladder(Task(replace(UNIFORM, n=40), 1, signals_per_dictionary=5), (6, 8)),
]
SCHEDULES = {
    "fixed": FixedTrials(110),
    "cells": ResolveCells(0.12, 200),
    "boundary": FindBoundary(0.05, 300),
}


def sweep(folder, name, schedule, *, columns=COLUMNS, **options):
    with Ledger(folder / name, {"kind": "test"}) as ledger:
        return run_sweep(columns, schedule, ledger, progress=False, **options)


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    return {name: sweep(folder, name, schedule) for name, schedule in SCHEDULES.items()}


def test_fixed_trials_are_whole_blocks_of_every_cell(references):
    assert [cell.task for cell in references["fixed"]] == [column.task(k) for column in COLUMNS for k in column.ks]
    assert {cell.trials for cell in references["fixed"]} == {125}
    assert 0.1 < sum(cell.successes for cell in references["fixed"]) / (14 * 125) < 0.9


@pytest.mark.parametrize("name", SCHEDULES)
def test_counts_depend_on_neither_workers_nor_interruption_nor_what_else_is_known(tmp_path, references, name):
    schedule, reference = SCHEDULES[name], references[name]
    processes = functools.partial(ProcessPoolExecutor, 2)
    assert sweep(tmp_path, "two", schedule, executor=processes, workers=2) == reference

    lines = (tmp_path / "two").read_bytes().splitlines(keepends=True)
    for kept in (3, len(lines) // 2, len(lines) - 1):  # and half a line more
        (tmp_path / "torn").write_bytes(b"".join(lines[:kept]) + lines[kept][:20])
        assert sweep(tmp_path, "torn", schedule) == reference

    sweep(tmp_path, "more", FixedTrials(60))
    assert sweep(tmp_path, "more", schedule) == reference


def test_resuming_runs_nothing_twice(tmp_path, references):
    def never(*_):
        raise AssertionError("ran a block again")

    for name, schedule in SCHEDULES.items():
        sweep(tmp_path, name, schedule)
        assert sweep(tmp_path, name, schedule, run=never, retries=0) == references[name]
    assert sum(cell.trials for cell in sweep(tmp_path, "fixed", FixedTrials(20), run=never)) == 14 * 25
    records = read_records(tmp_path / "fixed", BlockRecord)
    assert len({(r.task, r.block) for r in records}) == len(records) == 14 * 5


def test_a_ledger_gives_back_its_cells(tmp_path, references):
    sweep(tmp_path, "l", SCHEDULES["fixed"])
    assert sorted(cells(read_ledger(tmp_path / "l")[1]), key=str) == sorted(references["fixed"], key=str)


def test_a_schedule_sees_the_blocks_that_it_asked_for_and_no_others(tmp_path, references):
    sweep(tmp_path, "l", FixedTrials(200))
    known = blocks_of(read_ledger(tmp_path / "l")[1])
    shown = []

    class Growing:
        """k asks for one more block than it has, until it has as many as its place in the column, counted from 1."""

        def wanted(self, column, seen):
            shown.append((column, {k: list(blocks) for k, blocks in seen.items()}))
            return {k: min(len(seen[k]) + 1, place) for place, k in enumerate(column.ks, 1)}

    found = sweep(tmp_path, "l", Growing(), columns=COLUMNS[1:2])
    assert [cell.trials for cell in found] == [25, 50, 75, 100]
    assert len(shown) == 5
    for round_, (column, seen) in enumerate(shown):
        for place, k in enumerate(column.ks, 1):
            blocks = known[column.task(k).id]
            assert seen[k] == [blocks[b].outcome for b in range(min(round_, place))]


def test_shards_merged_are_the_whole(tmp_path, references):
    for index in (1, 2, 3):
        with Ledger(tmp_path / f"{index}.jsonl", {"kind": "test", "shard": f"{index}/3"}) as ledger:
            run_sweep(COLUMNS[index - 1 :: 3], SCHEDULES["boundary"], ledger, progress=False)
    merge_ledgers(tmp_path / "all", [tmp_path / f"{index}.jsonl" for index in (1, 2, 3)])
    by_name = functools.partial(sorted, key=lambda cell: cell.task.id)
    assert by_name(cells(read_ledger(tmp_path / "all")[1])) == by_name(references["boundary"])
    assert sweep(tmp_path, "all", SCHEDULES["boundary"]) == references["boundary"]


def test_equal_columns_count_once_and_overlapping_ones_are_refused(tmp_path):
    column = Ladder(Task(UNIFORM, 1), (2, 5))
    assert len(sweep(tmp_path, "l", FixedTrials(1), columns=[column, column])) == 2
    with pytest.raises(InvalidArgument, match="must not have a task in common"):
        sweep(tmp_path, "l", FixedTrials(1), columns=[column, Ladder(Task(UNIFORM, 1), (5, 8))])


def test_results_of_another_version_are_not_added_to(tmp_path):
    task = Task(UNIFORM, 2)
    with Ledger(tmp_path / "l", {"kind": "test"}) as ledger:
        ledger.append(replace(task_record(task), task=task_id(task, "older"), kernel="older"))
    before = (tmp_path / "l").read_bytes()
    with pytest.raises(InvalidFile, match="another version of the simulation"):
        sweep(tmp_path, "l", FixedTrials(1), columns=[Ladder(task, (2,))])
    assert (tmp_path / "l").read_bytes() == before


class Counting(InlineExecutor):
    def __init__(self):
        self.pieces = []

    def submit(self, fn, *args):
        self.pieces += [len(arg.blocks) for arg in args if hasattr(arg, "blocks")]
        return super().submit(fn, *args)


def test_quick_blocks_are_run_many_at_a_time_and_slow_ones_singly(tmp_path):
    def quick(task, block):
        return Block("1" * 25, 1.0, 0.0)

    def slow(task, block):
        time.sleep(0.15)
        return quick(task, block)

    executor, column = Counting(), Ladder(Task(UNIFORM, 1), (2,))
    sweep(tmp_path, "quick", FixedTrials(25 * 200), columns=[column], executor=executor, run=quick)
    assert sum(executor.pieces) == 200
    assert len(executor.pieces) < 20
    executor = Counting()
    sweep(tmp_path, "slow", FixedTrials(25 * 6), columns=[column], executor=executor, run=slow)
    assert executor.pieces == [1] * 6


def test_certificates_are_recorded_once_for_each_ensemble(tmp_path):
    ensembles = [Ensemble("uniform", 64, 80, d) for d in (4, 16)]
    with Ledger(tmp_path / "l", {}) as ledger:
        for chosen in (ensembles[:1], ensembles, ensembles):
            run_certificates(chosen, 2, ledger, progress=False)
        records = ledger.records
    assert [(r.d, r.draw) for r in records] == [(4, 0), (4, 1), (16, 0), (16, 1)]
    assert all(r.certified_k >= 0 for r in records)


def test_a_dictionary_from_a_file_has_one_certificate(tmp_path):
    from expander_theory import babel_certified_k

    w = Ensemble("uniform", 64, 80, 8).draw(0)
    w.save(tmp_path / "w")
    with Ledger(tmp_path / "l", {}) as ledger:
        run_certificates([Ensemble.from_file(tmp_path / "w")], 3, ledger, progress=False)
        (record,) = ledger.records
    assert record.certified_k == babel_certified_k(w)
    assert str(tmp_path) not in (tmp_path / "l").read_text()


def test_progress_in_a_log_is_whole_lines(tmp_path, capsys):
    with Ledger(tmp_path / "l", {}) as ledger:
        run_sweep(COLUMNS, FixedTrials(60), ledger)
        run_sweep(COLUMNS, FixedTrials(60), ledger)  # all known
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("sweep: 100 %, 1050/1050 trials, ")
    assert first.endswith("ladders 3/3, cells 14/14")
    assert second.startswith("sweep: 100 %, 1050/1050 trials, ")
    list(progress_bar(range(3), desc="count"))
    assert "\r" not in capsys.readouterr().err


def test_progress_on_a_terminal_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Ledger(tmp_path / "l", {}) as ledger:
        run_sweep(COLUMNS, FixedTrials(60), ledger)
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "ladders 3/3, cells 14/14" in text
    assert "1050/1050" in text


def test_an_open_column_is_expected_to_take_what_others_took():
    with SweepBar(4, 8, show=True) as bar:
        for asked in (100, 300, 50, 50):
            bar.plan(asked, 0)
        bar.end(2, 100)
        assert bar._bar.total == 500  # 100 known, 3 open columns with 400 asked for
        bar.end(2, 300)
        assert bar._bar.total == 100 + 300 + 2 * 200
        bar.plan(100, 25)
        assert (bar._bar.total, bar._bar.n, bar._bar.initial) == (800, 25, 25)


def test_an_estimate_counts_what_a_sweep_then_does(tmp_path):
    found = estimate_sweep(COLUMNS, FixedTrials(110), seconds=30)
    sweep(tmp_path, "l", FixedTrials(110))
    assert (found.ladders, found.cells, found.blocks, found.trials) == (3, 14, 14 * 5, 14 * 125)
    assert 0.7 < found.disk / (tmp_path / "l").stat().st_size < 1.4
    assert 0 < found.seconds < 60
    assert found.timed >= 2


def test_an_estimate_bounds_the_trials_of_adaptive_schedules(references):
    for name in ("cells", "boundary"):
        found = estimate_sweep(COLUMNS, SCHEDULES[name], seconds=0.5)
        assert found.trials >= sum(cell.trials for cell in references[name])
    assert found.trials <= 3 * (300 + 25)


def too_slow(task, block):
    time.sleep(30)


def test_an_estimate_keeps_to_its_time():
    begun = time.monotonic()
    found = estimate_sweep(COLUMNS, FixedTrials(10), seconds=0.3, run=too_slow)
    assert time.monotonic() - begun < 25
    assert found.timed == 0
    assert math.isnan(found.seconds)
    assert found.trials == 14 * 25


def test_costs_between_timed_cells_lie_between_theirs():
    from expander_theory.simulation.estimate import _interpolated, _work

    small, middle, large = (Task(replace(UNIFORM, n=n), 4) for n in (60, 120, 240))
    costs = {small: 1e-9 * _work(small), large: 4e-9 * _work(large)}
    assert _interpolated(small, costs) == pytest.approx(costs[small], rel=1e-4)
    assert _interpolated(middle, costs) == pytest.approx(2e-9 * _work(middle), rel=1e-4)
    topk = replace(small, solver="topk")  # another kind, for want of its own
    assert _interpolated(topk, costs) == pytest.approx(costs[small], rel=1e-4)
    assert _interpolated(topk, {**costs, topk: 7.0}) == pytest.approx(7)


def test_planted_recovery_falls_with_k_and_is_seeded():
    w = UNIFORM.draw(0)
    rates = list(planted_recovery(w, [1, 4, 12], trials=80, seed=3))
    assert [r.k for r in rates] == [1, 4, 12]
    assert rates[0].rate == 1 > rates[1].rate > rates[2].rate
    assert rates == list(planted_recovery(w, [1, 4, 12], trials=80, seed=3))
    several = [[r.successes for r in planted_recovery(w, range(4, 10), trials=80, seed=s)] for s in (3, 4)]
    assert several[0] != several[1]
    assert rates[1] == next(planted_recovery(w, [4], trials=80, seed=3))
    topk = list(planted_recovery(w, [4], trials=80, seed=3, solver="topk"))
    assert topk[0].successes < rates[1].successes
