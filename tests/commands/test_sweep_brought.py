"""``expander sweep``, ``recover`` and ``compare-solvers`` with what users bring, from outside."""

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.brought import records_in, write_functions

from expander_theory import load_dictionary
from expander_theory.cli import main
from expander_theory.results.ledger import read_ledger
from expander_theory.results.ledger_merge import merge_ledgers
from expander_theory.simulation.cells import cells, tasks_of
from experiments.commands.theory import CompareSolvers
from experiments.theory import solver_comparison
from experiments.theory.solver_comparison import Scale

GRID = ["--n", "48", "--m-over-n", "0.5", "--k-over-m", "0.1", "0.2"]
EFFORT = ["--trials", "25", "--certified-draws", "0", "--workers", "1"]
SMALL = [*GRID, "--family", "dense", *EFFORT]
LONG = ["--n", "64", "--m-over-n", "0.4", "0.5", "--k-over-m", "0.1", "0.2", "--family", "dense", "--trials", "200",
        "--certified-draws", "0"]  # fmt: skip
PROGRAM = [sys.executable, "-m", "expander_theory.cli", "sweep"]


@pytest.fixture
def run(capsys):
    def expander(*words, expect=0):
        try:
            main([str(word) for word in words])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        assert code == expect, captured
        return captured

    return expander


@pytest.fixture
def mine(tmp_path):
    path, _ = write_functions(tmp_path)
    return f"{path}:solve"


@pytest.fixture
def laws(tmp_path):
    _, path = write_functions(tmp_path)
    return lambda name: f"{path}:{name}"


def lines(ledger):
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def killed(words, ledger, enough, by):
    """Start the command, and end it when the ledger has so many lines."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    running = subprocess.Popen(words, start_new_session=True, text=True, **quiet)
    while lines(ledger) < enough:
        assert running.poll() is None, "ended before it could be stopped"
        time.sleep(0.002)
    os.killpg(running.pid, by)
    return running.communicate(timeout=60)[1]


def test_stopped_and_resumed_on_two_workers_it_is_the_whole_on_one(tmp_path, mine, run):
    path = tmp_path / "mine.py"
    path.write_text(path.read_text().replace("    dense =", "    time.sleep(0.001)\n    dense =") + "\n\nimport time\n")
    words = [*LONG, "--solver", mine, "omp"]
    run("sweep", tmp_path / "one", *words, "--executor", "inline")
    two, ledger = [*PROGRAM, str(tmp_path / "two"), *words, "--workers", "2"], tmp_path / "two" / "ledger.jsonl"
    killed(two, ledger, 8, signal.SIGKILL)
    said = killed(two, ledger, lines(ledger) + 8, signal.SIGINT)
    assert f"--solver {mine} omp --workers 2" in said
    assert "Traceback" not in said
    assert lines(ledger) < lines(tmp_path / "one" / "ledger.jsonl")
    run("sweep", tmp_path / "two", *words, "--executor", "inline")
    assert records_in(ledger) == records_in(tmp_path / "one" / "ledger.jsonl")
    assert (tmp_path / "two" / "cells.csv").read_bytes() == (tmp_path / "one" / "cells.csv").read_bytes()
    found = cells(read_ledger(ledger)[1])
    assert [cell.trials for cell in found] == [200] * 8
    assert len({cell.successes for cell in found if cell.task.solver_label.startswith("solve ")}) == 4


def test_an_edited_solver_is_another_experiment(tmp_path, mine, run):
    run("sweep", tmp_path / "s", *SMALL, "--solver", mine)
    before = (tmp_path / "s" / "ledger.jsonl").read_bytes()
    path = tmp_path / "mine.py"
    text = path.read_text()
    path.write_text(text.replace("stable", "quicksort"))
    error = run("sweep", tmp_path / "s", *SMALL, "--solver", mine, expect=2).err
    assert "belongs to another experiment" in error
    assert "solver.sha256 is" in error
    assert (tmp_path / "s" / "ledger.jsonl").read_bytes() == before
    path.unlink()
    (tmp_path / "renamed.py").write_text(text)
    run("sweep", tmp_path / "s", *SMALL, "--solver", f"{tmp_path / 'renamed.py'}:solve")
    assert len(records_in(tmp_path / "s" / "ledger.jsonl")) == 4  # nothing was run again


def test_shards_of_an_edited_solver_do_not_merge(tmp_path, mine, run):
    words = ["sweep", tmp_path / "s", *SMALL, "--solver", mine, "omp"]
    run(*words, "--shard", "1/2")
    run(*words, "--shard", "2/2")
    run("sweep", tmp_path / "whole", *SMALL, "--solver", mine, "omp")
    shards = sorted((tmp_path / "s").glob("ledger.shard-*.jsonl"))
    merge_ledgers(tmp_path / "s" / "ledger.jsonl", shards)
    assert records_in(tmp_path / "s" / "ledger.jsonl") == records_in(tmp_path / "whole" / "ledger.jsonl")
    with open(tmp_path / "mine.py", "a") as file:
        file.write("\n\nEDITED = True\n")
    shards[1].unlink()
    run(*words, "--shard", "2/2")
    said = run("ledger", "merge", tmp_path / "merged", *shards, expect=2).err
    assert "belongs to another experiment: solver[0].sha256 is" in said
    assert not (tmp_path / "merged").exists()


def test_everything_a_user_brings_at_once(tmp_path, laws, mine, run):
    words = [*GRID, "--family", laws("gaussian"), "--solver", mine, "omp", "--coefficients", laws("codes"),
             "--noise", laws("noise"), "--success", laws("exact"), "--trials", "25", "--workers", "1",
             "--certified-draws", "2", "--dictionaries", "fixed"]  # fmt: skip
    out = run("sweep", tmp_path / "s", *words).out
    assert "| solve " in out
    identity, records = read_ledger(tmp_path / "s" / "ledger.jsonl")
    tasks = list(tasks_of(records).values())
    assert [task.solver_label.split()[0] for task in tasks].count("omp") == 2
    assert {task.success.measure for task in tasks} == {task.noise.kind for task in tasks} == {"user"}
    assert {task.ensemble.d for task in tasks} == {24}
    assert str(tmp_path) not in str(identity)
    assert [record.certified_k for record in records if hasattr(record, "certified_k")] != []
    lone = {c.task.k: c for c in cells(records) if c.task.solver == "omp"}
    assert all(0 < cell.successes <= cell.trials == 25 for cell in lone.values())


def test_what_is_swept_is_read_exported_and_drawn_without_the_functions(tmp_path, laws, mine, run):
    run("sweep", tmp_path / "s", *GRID, "--family", laws("gaussian"), "dense", "--solver", mine, *EFFORT)
    for path in ("mine.py", "laws.py"):
        (tmp_path / path).unlink()
    for name in [name for name in sys.modules if name.startswith("_expander_plugin_")]:
        del sys.modules[name]
    run("ledger", "export", tmp_path / "s", "--out", tmp_path / "cells.csv")
    with open(tmp_path / "cells.csv") as file:
        rows = list(csv.DictReader(file))
    assert "gaussian" in str(rows)
    assert "solve" in run("ledger", "status", tmp_path / "s").out
    assert "phase_diagram.png" in run("figures", "--results", tmp_path / "s", "--out", tmp_path / "figures").out
    assert not [name for name in sys.modules if name.startswith("_expander_plugin_")]


def test_a_solver_that_raises_is_reported_with_its_traceback(tmp_path, laws, run):
    error = run("sweep", tmp_path / "s", *SMALL, "--solver", laws("fails"), "omp", expect=2).err
    assert "ArithmeticError: the solver gave up (laws.py, line 21)" in error
    said = run("ledger", "status", tmp_path / "s").out
    assert 'laws.py", line 21, in fails\n' in said
    assert said.count("Traceback (most recent call last)") == 1
    found = {c.task.solver_label.split()[0]: c for c in cells(read_ledger(tmp_path / "s" / "ledger.jsonl")[1])}
    assert (found["omp"].trials, found["omp"].quarantined) == (25, 0)
    assert (found["fails"].trials, found["fails"].quarantined) == (0, 1)


@pytest.mark.parametrize("name", ["breaks", "refuses"])
def test_a_law_that_draws_nothing_is_reported_after_everything_else(tmp_path, laws, name, run):
    words = [*GRID, "--family", "dense", laws(name), *EFFORT, "--certified-draws", "1"]
    error = run("sweep", tmp_path / "s", *words, expect=2).err
    assert "Traceback" not in error
    assert "2 blocks are left out after 3 attempts" in error
    with open(tmp_path / "s" / "cells.csv") as file:
        assert [row["trials"] for row in csv.DictReader(file)] == ["25", "25", "0", "0"]


def test_a_solver_that_leaves_does_not_end_the_sweep_in_silence(tmp_path, laws, run):
    error = run("sweep", tmp_path / "s", *SMALL, "--solver", laws("leaves"), expect=2).err
    assert "left out" in error


def test_a_dry_run_times_a_user_s_solver(tmp_path, mine, run):
    out = run("sweep", tmp_path / "s", *SMALL, "--solver", mine, "--dry-run").out
    assert "50 in 2 blocks" in out
    assert "nothing was run or written" in out
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--solver", "absent.py:f"], "absent.py: cannot be read"),
        (["--solver", "no_such_package:f"], "solver = no_such_package:f: must name an importable module"),
        (["--solver", "unknown"], "must be one of omp"),
        (["--family", "user"], "family = user: must be one of"),
        (["--family", "absent.py:f"], "absent.py: cannot be read"),
        (["--coefficients", "user"], "coefficients = user"),
        (["--coefficients", "file"], "coefficients = file"),
        (["--noise", "user"], "noise = user"),
        (["--success", "user"], "success = user"),
        (["--codes", "absent.npz"], "absent.npz: no such file"),
        (["--codes", "absent.npz", "--coefficients", "signs"], "does not go with --codes"),
    ],
)
def test_what_nobody_brought_is_refused_before_anything_runs(tmp_path, run, words, says):
    error = run("sweep", tmp_path / "s", *GRID, *words, expect=2).err
    assert error.startswith("expander: error: ")
    assert says in error
    assert not (tmp_path / "s").exists()


def test_codes_that_a_solver_wrote_are_planted(tmp_path, mine, run):
    run("build", tmp_path / "w", "--m", 24, "--n", 48, "--d", 4, "--values", "gaussian")
    np.save(tmp_path / "signals.npy", np.random.default_rng(0).standard_normal((30, 24)))
    words = ["recover", tmp_path / "w", "--k", 5, "--solver", mine, "--signals", tmp_path / "signals.npy"]
    run(*words, "--out", tmp_path / "codes.npz")
    run("sweep", tmp_path / "s", "--m", 24, "--ns", 48, "--ks", 2, 5, "--codes", tmp_path / "codes.npz",
        "--family", "dense", *EFFORT)  # fmt: skip
    rows = cells(read_ledger(tmp_path / "s" / "ledger.jsonl")[1])
    assert [cell.task.codes.law for cell in rows] == ["file", "file"]
    assert rows[0].successes > 0
    error = run("sweep", tmp_path / "t", "--m", 24, "--ns", 48, "--ks", 6, "--codes", tmp_path / "codes.npz", expect=2)
    assert "k = 6: must be at most 5" in error.err


def test_recover_with_a_user_s_solver(tmp_path, mine, run):
    run("build", tmp_path / "w", "--m", 24, "--n", 48, "--d", 4, "--values", "gaussian")
    out = run("recover", tmp_path / "w", "--k", 1, 8, "--trials", 20, "--solver", mine).out
    rates = [float(line.split("|")[3]) for line in out.splitlines() if "/20" in line]
    assert rates[0] > rates[1]
    signals = load_dictionary(tmp_path / "w").to_dense().T[:5]
    np.save(tmp_path / "signals.npy", signals)
    words = ["recover", tmp_path / "w", "--k", 1, "--solver", mine, "--signals", tmp_path / "signals.npy"]
    said = run(*words, "--out", tmp_path / "codes.npz").out
    assert "5 codes" in said


def test_compare_solvers_keeps_versions_of_a_solver_apart(tmp_path, mine, monkeypatch, capsys):
    tiny = Scale(24, 48, 4, ks=(2, 4), laws=("gaussian",), against=("topk",), trials=25)
    monkeypatch.setitem(solver_comparison.SCALES, "quick", tiny)
    CompareSolvers(tmp_path / "c", against=(mine,), workers=1).run()
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text().replace("[:, :k]", "[:, :1]"))
    CompareSolvers(tmp_path / "c", against=(mine,), workers=1).run()
    found = cells(read_ledger(tmp_path / "c" / "ledger.jsonl")[1])
    versions = dict.fromkeys(c.task.solver_label for c in found if c.task.solver_label.startswith("solve "))
    assert len(versions) == 2
    first, second = ([c.successes for c in found if c.task.solver_label == label] for label in versions)
    assert first[0] > second[0] == second[1] == 0
    with open(tmp_path / "c" / "figures" / "tables" / "solver_comparison.csv") as file:
        assert {row["second"] for row in csv.DictReader(file)} >= {*versions}
