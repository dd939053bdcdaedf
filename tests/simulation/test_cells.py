import json
import math
from dataclasses import replace

import numpy as np
import pytest

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.base.seeds import stream
from expander_theory.results import CertificateRecord, from_json, read_ledger, to_json
from expander_theory.results.files import canonical_json
from expander_theory.simulation import cells as module
from expander_theory.simulation.cells import (
    Cell,
    InvalidRecord,
    block_record,
    blocks_of,
    boundaries,
    cell_rows,
    cells,
    failure_record,
    task_record,
    tasks_of,
)
from expander_theory.simulation.trials import Block, CodeLaw, Ensemble, Noise, Success, Task, run_block
from expander_theory.statistics.clusters import Cluster, effective_trials, variation
from expander_theory.statistics.intervals import clopper_pearson_interval, fit_boundary, wilson_interval

UNIFORM = Ensemble("uniform", 24, 60, 4)
TASK = Task(UNIFORM, 5)
SHARED = replace(TASK, signals_per_dictionary=5)
OTHER = Task(UNIFORM, 4, CodeLaw("range", range=9), Noise("relative", 0.2), Success("error", 0.7), "topk", "cell")
OUTCOME = "1101" + "0" * 20 + "1"


def stored(records):
    """Records as they come back from the disk."""
    return [from_json(json.loads(canonical_json(to_json(record))), "ledger", 2) for record in records]


def ledger(*results):
    """Records of (task, block, outcome), each with fraction 0.5 and error 0.25."""
    records, named = [], set()
    for task, block, outcome in results:
        if task.id not in named:
            records.append(task_record(task))
        named.add(task.id)
        records.append(block_record(task, block, Block(outcome, 0.5, 0.25)))
    return stored(records)


def test_tasks_and_blocks_come_back_from_their_records():
    tasks = [TASK, OTHER, replace(TASK, k=6), Task(replace(UNIFORM, values="flat", flatness=1.5), 2, seed=3)]
    blocks = {(task.id, b): run_block(task, b) for task in tasks for b in (0, 2)}
    records = [task_record(task) for task in tasks]
    records += [block_record(task, b, blocks[task.id, b]) for b in (2, 0) for task in tasks]
    read = stored([CertificateRecord(3, 0, "uniform", 24, 60, 4), *records])
    assert tasks_of(read) == {task.id: task for task in tasks}
    assert blocks_of(read) == {task.id: {b: blocks[task.id, b] for b in (0, 2)} for task in tasks}
    assert [cell.task for cell in cells(read)] == tasks
    assert [cell.trials for cell in cells(read)] == [50] * 4
    assert tasks_of([]) == blocks_of([]) == {}


def test_tasks_of_files_come_back_without_their_files(tmp_path):
    UNIFORM.draw(0).save(tmp_path / "w.safetensors")
    np.save(tmp_path / "r.npy", np.linspace(0, 0.5, 60))
    codes = CodeLaw(firing=str(tmp_path / "r.npy"))
    task = Task(Ensemble.from_file(tmp_path / "w.safetensors"), 3, codes, dictionaries="fixed")
    (record,) = stored([task_record(task)])
    assert str(tmp_path) not in json.dumps(to_json(record))
    for file in tmp_path.iterdir():
        file.unlink()
    assert tasks_of([record]) == {task.id: task}
    with pytest.raises(InvalidArgument, match="must name the file"):
        run_block(tasks_of([record])[task.id], 0)


def test_counts_are_those_of_the_blocks():
    records = ledger((TASK, 0, OUTCOME), (OTHER, 3, "0" * 25), (TASK, 7, "1" * 25))
    records += stored([block_record(TASK, 2, Block("0" * 25, 0.1, 1.0)), failure_record(TASK, 1, "lost", 3)])
    first, second = cells(records)
    assert (first.task, first.trials, first.successes, first.quarantined) == (TASK, 75, 29, 1)
    assert first.clusters == (Cluster(1, 0, 46), Cluster(1, 1, 29))
    assert first.fraction == pytest.approx((0.5 + 0.5 + 0.1) / 3)
    assert first.error == pytest.approx((0.25 + 0.25 + 1) / 3)
    assert (second.trials, second.clusters, second.quarantined) == (25, (Cluster(25, 0),), 0)


def test_counts_by_dictionary():
    (cell,) = cells(ledger((SHARED, 1, "1111111000000001100000001"), (SHARED, 0, "1" * 25)))
    assert cell.clusters == (Cluster(5, 0), Cluster(5, 1), Cluster(5, 2, 2), Cluster(5, 5, 6))
    assert sum(g.trials * g.dictionaries for g in cell.clusters) == cell.trials == 50
    assert sum(g.successes * g.dictionaries for g in cell.clusters) == cell.successes


def test_neither_order_nor_repetition_changes_counts():
    results = [(TASK, b, OUTCOME) for b in range(4)] + [(SHARED, b, "10011" * 5) for b in range(4)]
    expected = cells(ledger(*results))
    shuffled = ledger(*results)[1:]
    order = stream("07" * 32).permutation(len(shuffled))
    again = ledger(*results)[:1] + [shuffled[i] for i in order] + [shuffled[i] for i in order]
    assert {cell.task: cell for cell in cells(again)} == {cell.task: cell for cell in expected}


def test_the_last_digits_of_a_mean_contradict_nothing():
    records = ledger((TASK, 0, OUTCOME))
    assert cells([*records, replace(records[1], error=0.2500000001)]) == cells(records)


def test_a_block_that_succeeded_at_last_is_not_quarantined():
    records = ledger((TASK, 0, OUTCOME)) + stored([failure_record(TASK, 0, "killed", 3)])
    assert cells(records)[0].quarantined == 0
    (cell,) = cells(stored([task_record(TASK), failure_record(TASK, 0, "killed", 3)]))
    assert (cell.trials, cell.quarantined) == (0, 1)
    assert math.isnan(cell.rate)
    (row,) = cell_rows([cell])
    assert (row["low"], row["high"], row["quarantined"]) == (0, 1, 1)


def test_results_of_an_earlier_format_are_refused(tmp_path):
    old = {"task": TASK.id, "family": "uniform", "m": 24, "n": 60, "d": 4, "k": 5, "first": 0, "outcome": "01"}
    lines = [{"ledger": 1, "identity": {"kind": "sweep"}}, old]
    (tmp_path / "l").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InvalidFile, match="line 2: has the format of an earlier release"):
        read_ledger(tmp_path / "l")


def damaged(damage):
    records = ledger((TASK, 0, OUTCOME))
    damage(records)
    return records


def change(records, place, **fields):
    records[place] = replace(records[place], **fields)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda r: r[0].content.update(k=6), "does not belong to its id"),
        (lambda r: change(r, 0, kernel="0"), "does not belong to its id"),
        (lambda r: change(r, 0, kernel=None), "does not belong to its id"),
        (lambda r: r[0].content.update(colour=1), "cannot be read by this release"),
        (lambda r: r[0].content.pop("codes"), "cannot be read by this release"),
        (lambda r: r[0].content.update(solver="magic"), "cannot be read by this release: solver"),
        (lambda r: r[0].content["ensemble"].update(d=99), "cannot be read by this release: d = 99"),
        (lambda r: r.pop(0), "content is nowhere recorded"),
        (lambda r: change(r, 1, outcome="01"), "is damaged: its outcome is 01"),
        (lambda r: change(r, 1, outcome="2" * 25), "is damaged"),
        (lambda r: r.append(replace(r[1], outcome="1" * 25)), "two different outcomes"),
    ],
)
def test_contradictions_are_found(damage, text):
    with pytest.raises(InvalidRecord, match=text):
        cells(damaged(damage))


def test_an_older_kernel_s_results_are_read_and_never_mixed(monkeypatch):
    from expander_theory.simulation import tasks

    old = ledger((TASK, 0, OUTCOME))
    for where in (tasks, module):
        monkeypatch.setattr(where, "KERNEL_VERSION", "next")
    monkeypatch.setattr(Task, "id", property(lambda task: tasks.task_id(task, "next")))
    assert TASK.id not in tasks_of(old)
    (cell,) = cells(old)
    assert (cell.task, cell.trials) == (TASK, 25)
    with pytest.raises(InvalidRecord, match="two kernel versions"):
        cells(old + ledger((TASK, 0, OUTCOME)))


def test_independent_trials_have_binomial_intervals():
    cell = cells(ledger((TASK, 0, OUTCOME)))[0]
    assert (cell.interval_of, cell.effective_trials) == ("ensemble", 25)
    (row,) = cell_rows([cell])
    assert (row["successes"], row["trials"], row["rate"], row["dictionaries"]) == (4, 25, 0.16, 25)
    assert (row["low"], row["high"]) == tuple(map(float, wilson_interval(4, 25)))
    assert (row["exact_low"], row["exact_high"]) == tuple(map(float, clopper_pearson_interval(4, 25)))
    assert row["between_sd"] is row["within_sd"] is None


def test_one_dictionary_has_intervals_of_its_own():
    for kind in ("cell", "fixed"):
        (row,) = cell_rows(cells(ledger((replace(TASK, dictionaries=kind), 0, OUTCOME))))
        assert (row["interval_of"], row["dictionaries"]) == ("this dictionary", 1)
        assert (row["low"], row["high"]) == tuple(map(float, wilson_interval(4, 25)))
        assert row["between_sd"] is None
        assert row["within_sd"] == pytest.approx(math.sqrt(4 * 21 / 25 / 24))


def test_shared_dictionaries_widen_the_interval():
    together, apart = cells(ledger((SHARED, 0, "1111100000111110000000000"), (TASK, 0, "10100" * 5)))
    assert together.rate == apart.rate
    wide, narrow = cell_rows([together, apart])
    assert wide["effective_trials"] < 5
    assert wide["low"] < narrow["low"]
    assert wide["high"] > narrow["high"]
    assert wide["exact_low"] < narrow["exact_low"]
    assert wide["low"] < wide["rate"] < wide["high"]
    assert (wide["within_sd"], wide["interval_of"]) == (0, "ensemble")
    assert wide["between_sd"] == pytest.approx(np.std([1, 0, 1, 0, 0], ddof=1))


def test_rows_name_all_that_tells_cells_apart():
    tasks = [TASK, OTHER, SHARED, replace(TASK, ensemble=replace(UNIFORM, values="flat", flatness=1.5))]
    rows = cell_rows(cells(ledger(*((task, 0, "1" * 25) for task in tasks))))
    assert len({tuple(row) for row in rows}) == 1
    assert rows[1]["codes"] == "range 9"
    assert (rows[1]["noise"], rows[1]["success"], rows[1]["solver"]) == ("relative 0.2", "error 0.7", "topk")
    assert rows[3]["values"] == "flat 1.5"
    assert (rows[0]["family"], rows[0]["d"], rows[0]["m"], rows[0]["n"], rows[0]["k"]) == ("uniform", 4, 24, 60, 5)


def test_boundaries_keep_different_tasks_apart():
    rates = {2: "1" * 25, 5: "1" * 13 + "0" * 12, 8: "0" * 25}
    families = [TASK, replace(TASK, noise=Noise("absolute", 0.1)), replace(TASK, dictionaries="cell"), SHARED]
    columns = [(replace(task, k=k), 0, outcome) for k, outcome in rates.items() for task in families]
    fitted = boundaries(cells(ledger(*columns, (replace(TASK, seed=1), 0, OUTCOME))))
    assert len(fitted) == 4
    assert [row["interval_of"] for row in fitted] == [
        "ensemble", "ensemble", "these dictionaries, one a cell", "ensemble",
    ]  # fmt: skip
    expected = fit_boundary([2 / 24, 5 / 24, 8 / 24], [25, 13, 0], [25] * 3)
    assert fitted[0]["k/m at 50 %"] == expected.centre
    assert (fitted[0]["low"], fitted[0]["high"], fitted[0]["status"]) == (expected.low, expected.high, "fitted")
    assert fitted[3]["high"] - fitted[3]["low"] > fitted[0]["high"] - fitted[0]["low"]


def beta_binomial(rng, dictionaries, trials, mean, correlation):
    """Counts on dictionaries whose success probabilities are Beta with this mean, and variance mean(1-mean)rho."""
    a = mean * (1 / correlation - 1)
    p = rng.beta(a, a * (1 - mean) / mean, dictionaries)
    return [Cluster(trials, int(x)) for x in rng.binomial(trials, p)]


def test_variation_is_estimated_without_bias():
    """Beta-binomial counts: variance over dictionaries 0.3 * 0.7 * 0.2, within 0.3 * 0.7 * 0.8."""
    rng = stream("09" * 32)
    parts = [variation(beta_binomial(rng, 40, 6, 0.3, 0.2)) for _ in range(800)]
    assert np.mean([v.between**2 for v in parts]) == pytest.approx(0.042, rel=0.05)
    assert np.mean([v.within**2 for v in parts]) == pytest.approx(0.168, rel=0.02)


def test_variation_of_unequal_groups_is_the_analysis_of_variance():
    counts = [(4, 1), (7, 7), (2, 0), (4, 1), (5, 3)]
    groups = [Cluster(4, 1, 2), Cluster(7, 7), Cluster(2, 0), Cluster(5, 3)]
    values = [np.repeat([1.0, 0.0], [x, n - x]) for n, x in counts]
    everything = np.concatenate(values)
    within = sum(((v - v.mean()) ** 2).sum() for v in values) / (len(everything) - 5)
    between = sum(len(v) * (v.mean() - everything.mean()) ** 2 for v in values) / 4
    size = (len(everything) - sum(len(v) ** 2 for v in values) / len(everything)) / 4
    found = variation(groups)
    assert found.within == pytest.approx(math.sqrt(within))
    assert found.between == pytest.approx(math.sqrt((between - within) / size))
    assert variation([Cluster(4, 2, 9)]).between == 0  # less spread than chance gives
    assert variation([Cluster(1, 0, 3), Cluster(1, 1, 2)]).within is None


def test_effective_trials_at_the_ends():
    assert effective_trials([Cluster(1, 1, 30), Cluster(1, 0, 10)]) == 40
    assert (
        effective_trials([Cluster(10, 10, 6)]) == 6
    )  # nothing to estimate from: success may be the dictionary's alone
    assert effective_trials([Cluster(10, 4, 1)]) == 1
    assert effective_trials([Cluster(10, 10, 50), Cluster(10, 0, 50)]) == pytest.approx(100, rel=0.05)
    assert effective_trials([Cluster(10, 5, 20)]) == 200
    assert effective_trials([]) == 0


@pytest.mark.parametrize("correlation", [0.05, 0.5])
def test_intervals_of_shared_dictionaries_cover_the_ensemble(correlation):
    rng = stream("0a" * 32)
    naive = covered = 0
    for _ in range(600):
        groups = beta_binomial(rng, 12, 20, 0.4, correlation)
        x, n = sum(g.successes for g in groups), 240
        effective = effective_trials(groups)
        low, high = wilson_interval(x / n * effective, effective)
        covered += low <= 0.4 <= high
        low, high = wilson_interval(x, n)
        naive += low <= 0.4 <= high
    assert covered / 600 > 0.92
    assert naive / 600 < 0.87


@pytest.mark.parametrize(("counts", "name"), [((0, 0), "trials"), ((3, 4), "successes"), ((3, 1, 0), "dictionaries")])
def test_impossible_counts_are_refused(counts, name):
    with pytest.raises(InvalidArgument) as caught:
        Cluster(*counts)
    assert caught.value.name == name


def test_a_cell_reports_the_share_and_error_of_its_codes():
    task = replace(TASK, success=Success("fraction", 0.6))
    block = run_block(task, 0)
    (cell,) = cells(stored([task_record(task), block_record(task, 0, block)]))
    assert isinstance(cell, Cell)
    (row,) = cell_rows([cell])
    assert (row["fraction"], row["error"]) == (block.fraction, block.error)


def test_boundaries_of_shared_dictionaries_are_cluster_bootstrap_bands():
    rng = np.random.default_rng(0)
    counted = []
    for k, rate in ((2, 0.95), (4, 0.75), (6, 0.4), (8, 0.1)):
        shared = replace(TASK, k=k, signals_per_dictionary=25)
        records = [task_record(shared)]
        for block in range(12):
            own = np.clip(rate + rng.normal(0, 0.15), 0, 1)
            outcome = "".join("1" if s else "0" for s in rng.random(25) < own)
            records.append(block_record(shared, block, Block(outcome, 0.5, 0.25)))
        counted += cells(stored(records))
    (row,) = boundaries(counted)
    m = TASK.ensemble.m
    plain = fit_boundary([c.task.k / m for c in counted], [c.successes for c in counted], [c.trials for c in counted])
    assert row["k/m at 50 %"] == pytest.approx(plain.centre)
    assert row["high"] - row["low"] > 1.2 * (plain.high - plain.low)
    assert row["fit p"] is None
    assert boundaries(counted) == [row]


def test_independent_trials_say_how_well_the_curve_fits():
    counted = []
    for k, successes in ((2, 24), (4, 18), (6, 9), (8, 2)):
        task = replace(TASK, k=k)
        counted += cells(
            stored(
                [task_record(task), block_record(task, 0, Block("1" * successes + "0" * (25 - successes), 0.5, 0.2))]
            )
        )
    (row,) = boundaries(counted)
    assert row["status"] == "fitted"
    assert row["fit p"] > 0.05
