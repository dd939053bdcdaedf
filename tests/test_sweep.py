import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from expander_theory import InvalidArgument
from expander_theory.cells import boundaries, cell_rows, cells
from expander_theory.ledger import Ledger, read_ledger
from expander_theory.planted import planted_recovery
from expander_theory.sweep import run_certificates, run_sweep
from expander_theory.trials import Ensemble, Task, run_trials

UNIFORM = Ensemble("uniform", 24, 60, 4)
TASKS = [Task(UNIFORM, k) for k in (2, 5, 8)] + [Task(Ensemble("dense", 24, 60, 24, "gaussian"), 5)]


def sweep(tmp_path, name, trials=60, **options):
    with Ledger(tmp_path / name, {"kind": "test"}) as ledger:
        return run_sweep(TASKS, trials, ledger, progress=False, **options)


def test_counts_do_not_depend_on_workers_chunks_or_interruption(tmp_path):
    reference = sweep(tmp_path, "a")
    assert [cell.trials for cell in reference] == [60] * 4
    assert 0 < sum(cell.successes for cell in reference) < 240
    assert sweep(tmp_path, "b", worker_count=2, chunk=7) == reference
    sweep(tmp_path, "c", trials=23, chunk=10)
    lines = (tmp_path / "c").read_bytes().splitlines(keepends=True)
    (tmp_path / "c").write_bytes(b"".join(lines[:-3]) + lines[-2][:30])
    assert sweep(tmp_path, "c", chunk=13) == reference


def test_resuming_runs_nothing_twice(tmp_path, monkeypatch):
    reference = sweep(tmp_path, "a")
    monkeypatch.setattr("expander_theory.sweep.run_trials", lambda *_: pytest.fail("ran a trial again"))
    assert sweep(tmp_path, "a") == reference
    assert sum(cell.trials for cell in sweep(tmp_path, "a", trials=20)) == 80


def test_a_ledger_gives_back_its_cells(tmp_path):
    reference = sweep(tmp_path, "a")
    assert cells(read_ledger(tmp_path / "a")[1]) == reference
    rows = cell_rows(reference)
    assert [row["k"] for row in rows] == [2, 5, 8, 5]
    assert all(row["low"] <= row["rate"] <= row["high"] for row in rows)
    (fitted,) = boundaries(reference)
    assert fitted["status"] == "fitted"
    assert 2 / 24 < fitted["k/m at 50 %"] < 8 / 24


@pytest.mark.parametrize("shared", [1, 4])
def test_trials_do_not_depend_on_how_they_are_cut(shared):
    task = replace(TASKS[1], signals_per_dictionary=shared)
    whole = run_trials(task, 0, 30)
    assert whole == "".join(run_trials(task, first, 1) for first in range(30))
    assert whole == run_trials(task, 0, 7) + run_trials(task, 7, 23)
    assert set(whole) == {"0", "1"}


def test_dictionaries_are_shared_as_asked():
    task = replace(TASKS[0], signals_per_dictionary=2)
    assert task.dictionary(0).sha256 != task.dictionary(1).sha256
    assert task.id != TASKS[0].id
    assert not np.array_equal(task.code(0), task.code(1))


def test_codes_do_not_share_random_numbers_with_their_dictionary(monkeypatch):
    """Every stream that a task opens is different."""
    opened = []
    monkeypatch.setattr("expander_theory.trials.stream", lambda *name: opened.append(name) or np.random.default_rng(0))
    task = replace(TASKS[0], signals_per_dictionary=3)
    for trial in range(9):
        task.code(trial)
    for index in range(3):
        task.dictionary(index)
    padded = {(key, *counter, *[0] * (3 - len(counter))) for key, *counter in opened}  # as the generator sees them
    assert len(padded) == 12


def test_streams_of_dictionary_and_codes_are_different():
    """A planted code that reused the dictionary's random numbers would be correlated with it."""
    from expander_theory.seeds import stream

    draws = [
        stream(TASKS[0].id, *counter).random(1000) for counter in ((0, 0), (0, 1, 0), (1, 0), (1, 1, 0), (0, 1, 1))
    ]
    correlations = np.corrcoef(draws)
    assert np.abs(correlations - np.eye(5)).max() < 0.15


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"family": "tree"}, "family"),
        ({"d": 25}, "d"),
        ({"values": "none"}, "values"),
        ({"values": "flat"}, "flatness"),
        ({"family": "dense"}, "d"),
        ({"family": "polynomial", "d": 5}, "m"),
        ({"family": "polynomial", "d": 4}, "m"),
        ({"values": "flat", "flatness": 2.5}, "flatness"),
        ({"flatness": math.nan}, "flatness"),
        ({"family": "polynomial", "d": 3, "n": 5000}, "r"),
    ],
)
def test_impossible_ensembles_are_refused(change, name):
    with pytest.raises(InvalidArgument) as caught:
        replace(UNIFORM, **change)
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("change", "name"),
    [({"k": 25}, "k"), ({"k": 0}, "k"), ({"solver": "x"}, "solver"), ({"coefficients": "x"}, "coefficients"),
     ({"signals_per_dictionary": 0}, "signals_per_dictionary"), ({"seed": -1}, "seed")],
)  # fmt: skip
def test_impossible_tasks_are_refused(change, name):
    with pytest.raises(InvalidArgument) as caught:
        replace(TASKS[0], **change)
    assert caught.value.name == name


@pytest.mark.parametrize(
    "ensemble",
    [
        Ensemble("polynomial", 20, 25, 4),
        Ensemble("uniform", 20, 50, 4, "flat", 1.5),
        Ensemble("uniform", 9, 30, 2, "gaussian"),
    ],
)
def test_every_family_draws_its_dictionary(ensemble):
    w = ensemble.draw(0)
    assert (w.m, w.n, w.d) == (ensemble.m, ensemble.n, ensemble.d)
    np.testing.assert_allclose(w.column_norms, 1)


def test_boundaries_keep_different_tasks_apart(tmp_path):
    ensembles = [Ensemble("uniform", 24, n, 4) for n in (40, 60)]
    tasks = [Task(e, k, solver=s) for e in ensembles for k in (2, 8) for s in ("omp", "topk")]
    with Ledger(tmp_path / "l", {}) as ledger:
        found = run_sweep([*tasks, *tasks], 10, ledger, progress=False)
    assert [cell.task for cell in found] == tasks
    assert len(boundaries(found)) == 4


def test_certificates_are_recorded_once_for_each_ensemble(tmp_path):
    ensembles = [Ensemble("uniform", 64, 80, d) for d in (4, 16)]
    with Ledger(tmp_path / "l", {}) as ledger:
        for chosen in (ensembles[:1], ensembles, ensembles):
            run_certificates(chosen, 2, ledger, progress=False)
        records = ledger.records
    assert [(r["d"], r["draw"]) for r in records] == [(4, 0), (4, 1), (16, 0), (16, 1)]
    assert all(r["certified_k"] >= 0 for r in records)


def test_workers_have_one_thread_each():
    from expander_theory.executors import workers

    with workers(2) as executor:
        assert executor.submit(os.getenv, "OPENBLAS_NUM_THREADS").result() == "1"


def test_a_worker_s_error_reaches_the_user_whole(tmp_path, monkeypatch):
    """InvalidArgument crosses the process border with its name, value and range."""
    import pickle

    error = pickle.loads(pickle.dumps(InvalidArgument("d", 9, "must be at most 3")))
    assert str(error) == "d = 9: must be at most 3"
    assert error.name == "d"


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


COMMAND = [
    sys.executable, "-m", "expander_theory.cli", "sweep", "--n", "128", "--m-over-n", "0.3", "0.5",
    "--k-over-m", "0.1", "0.2", "0.3", "--trials", "400",
]  # fmt: skip


def _outcomes(folder):
    records = read_ledger(folder / "ledger.jsonl")[1]
    found = [(r["task"], r["first"], r["outcome"]) for r in records if "outcome" in r]
    assert len(found) == len(set(found))  # nothing was run twice
    return set(found)


def _counts(folder):
    return {(c.task.id, c.trials, c.successes) for c in cells(read_ledger(folder / "ledger.jsonl")[1])}


def test_killed_and_resumed_from_the_command_line(tmp_path):
    """1 worker, 2 workers, and SIGKILL half-way then resumed: the same counts, cell by cell."""
    for name, workers in (("one", "1"), ("two", "2")):
        subprocess.run([*COMMAND, str(tmp_path / name), "--workers", workers], check=True, capture_output=True)
    assert _outcomes(tmp_path / "one") == _outcomes(tmp_path / "two")

    ledger = tmp_path / "killed" / "ledger.jsonl"
    running = subprocess.Popen(
        [*COMMAND, str(tmp_path / "killed"), "--workers", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    while not ledger.exists() or ledger.read_bytes().count(b"\n") < 40:
        assert running.poll() is None, "ended before it could be killed"
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    done = ledger.read_bytes().count(b"\n")
    assert 40 <= done < 193
    subprocess.run([*COMMAND, str(tmp_path / "killed"), "--workers", "2"], check=True, capture_output=True)
    assert _counts(tmp_path / "killed") == _counts(tmp_path / "one")
    assert _outcomes(tmp_path / "killed") == _outcomes(tmp_path / "one")
    assert len(_outcomes(tmp_path / "one")) == 12 * 16


def test_another_sweep_in_the_same_folder_is_refused(tmp_path):
    subprocess.run([*COMMAND[:-1], "2", str(tmp_path), "--workers", "1"], check=True, capture_output=True)
    before = (tmp_path / "ledger.jsonl").read_bytes()
    again = subprocess.run([*COMMAND, str(tmp_path), "--seed", "1"], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "belongs to another experiment" in again.stderr
    assert "seed is 0 there and 1 here" in again.stderr
    assert "Traceback" not in again.stderr
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    assert json.loads(before.splitlines()[0])["identity"]["seed"] == 0
