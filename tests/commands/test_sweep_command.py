"""``expander sweep`` from outside: options, executors, shards, dry runs, and death at any moment."""

import csv
import os
import random
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from expander_theory import load_dictionary
from expander_theory.base.errors import InvalidArgument
from expander_theory.cli import main
from expander_theory.commands.sweeping.options import Shard
from expander_theory.masks import MASK_FAMILIES
from expander_theory.results import BlockRecord, records_of, to_json
from expander_theory.results.ledger import read_ledger
from expander_theory.results.ledger_format import record_line
from expander_theory.results.ledger_merge import merge_ledgers
from expander_theory.simulation.cells import cells, tasks_of
from expander_theory.simulation.sweep import run_sweep
from expander_theory.simulation.trials import run_block

KILLS = int(os.environ.get("SWEEP_KILLS", "3"))
"""How often the command is killed at a random moment."""

SMALL = ["--n", "64", "--m-over-n", "0.3", "0.5", "--k-over-m", "0.1", "0.3", "--d", "4", "--trials", "50",
         "--certified-draws", "1"]  # fmt: skip
LONG = ["--n", "128", "--m-over-n", "0.3", "0.5", "--k-over-m", "0.1", "0.2", "0.3", "--trials", "1000",
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
def blocks_run_by(monkeypatch):
    """Replaces what runs a block, in this process."""
    return lambda replacement: monkeypatch.setitem(run_sweep.__kwdefaults__, "run", replacement)


def counts(*ledgers):
    """Cell by cell; no block is there twice."""
    records = [record for ledger in ledgers for record in read_ledger(ledger)[1]]
    blocks = [(record.task, record.block) for record in records_of(records, BlockRecord)]
    assert len(blocks) == len(set(blocks))
    return {cell.task: (cell.trials, cell.successes) for cell in cells(records)}


def start(folder, *words):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*PROGRAM, str(folder), *words], start_new_session=True, **quiet)


def lines(ledger):
    """Whole lines so far."""
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    main(["sweep", str(folder), *SMALL, "--executor", "inline"])
    return folder


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """The ledger of the long sweep."""
    folder = tmp_path_factory.mktemp("long")
    subprocess.run([*PROGRAM, str(folder), *LONG, "--workers", "1"], check=True, capture_output=True)
    return folder / "ledger.jsonl"


def test_killed_at_any_moment_it_resumes_to_the_same_counts(tmp_path, long):
    moments, ledger = random.Random(os.getpid()), tmp_path / "ledger.jsonl"
    for kill in range(KILLS):
        running = start(tmp_path, *LONG, "--workers", str(1 + kill % 2))
        enough = lines(ledger) + moments.randrange(lines(long) // (KILLS + 1))
        while lines(ledger) < enough:
            assert running.poll() is None, "ended before it could be killed"
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.05))
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        print(f"killed at {lines(ledger)} of {lines(long)} lines")
    assert lines(ledger) < lines(long)
    subprocess.run([*PROGRAM, str(tmp_path), *LONG, "--workers", "2"], check=True, capture_output=True)
    assert counts(ledger) == counts(long)
    assert len({successes for _, successes in counts(long).values()}) > 6


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(tmp_path, long):
    ledger = tmp_path / "ledger.jsonl"
    words = [*PROGRAM, str(tmp_path), *LONG, "--workers", "2"]
    running = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while lines(ledger) < 40:
        assert running.poll() is None, "ended before it could be interrupted"
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the parent and its workers
    _, says = running.communicate(timeout=60)
    assert running.returncode == 130, says
    assert f"to go on: expander sweep {tmp_path} {' '.join(LONG)} --workers 2\n" in says
    assert "Traceback" not in says
    assert 40 <= lines(ledger) < 2 + 12 * 41
    kept = [record_line(to_json(record)) for record in read_ledger(ledger)[1]]
    assert set(kept) <= {record_line(to_json(record)) for record in read_ledger(long)[1]}
    assert len(set(kept)) == len(kept) >= 38


def test_a_full_second_run_runs_nothing(small, run, blocks_run_by):
    blocks_run_by(lambda *_: pytest.fail("ran a block again"))
    before = (small / "ledger.jsonl").read_bytes()
    out = run("sweep", small, *SMALL).out
    assert (small / "ledger.jsonl").read_bytes() == before
    assert out.count("| uniform  |") == 4 + 2
    assert out.count("| dense    |") == 4 + 2
    with open(small / "cells.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["family"], row["m"], row["k"], row["trials"]) for row in rows[:3]] == [
        ("uniform", "19", "2", "50"), ("uniform", "19", "6", "50"), ("uniform", "32", "3", "50"),
    ]  # fmt: skip


def test_defaults_written_out_are_the_same_experiment(small, run):
    same = ["--seed", 0, "--values", "signs", "--coefficients", "gaussian", "--precision", "float32", "--workers", 1]
    run("sweep", small, *SMALL, *same)


def test_another_sweep_in_the_same_folder_is_refused(small, run):
    before = (small / "ledger.jsonl").read_bytes()
    error = run("sweep", small, *SMALL, "--seed", 1, expect=2).err
    assert "belongs to another experiment" in error
    assert "seed is 0 there and 1 here" in error
    assert (small / "ledger.jsonl").read_bytes() == before


def test_shards_merged_are_the_whole_and_are_resumed_as_such(tmp_path, small, run, blocks_run_by):
    for index in (2, 1, 3):
        out = run("sweep", tmp_path, *SMALL, "--shard", f"{index}/3", "--workers", 1).out
        assert f"expander ledger merge {tmp_path} {tmp_path}/ledger.shard-*.jsonl" in out
    shards = sorted(tmp_path.glob("ledger.shard-*-of-3.jsonl"))
    assert len(shards) == len(list(tmp_path.glob("cells.shard-*-of-3.csv"))) == 3
    assert counts(*shards) == counts(small / "ledger.jsonl")
    merge_ledgers(tmp_path / "ledger.jsonl", shards)
    blocks_run_by(lambda *_: pytest.fail("ran a block again"))
    run("sweep", tmp_path, *SMALL, "--workers", 1)
    assert counts(tmp_path / "ledger.jsonl") == counts(small / "ledger.jsonl")
    assert (tmp_path / "cells.csv").read_bytes() == (small / "cells.csv").read_bytes()


def test_slurm_jobs_are_shards(tmp_path, small, run):
    pytest.importorskip("submitit")
    where = ["--executor", "slurm", "--slurm-cluster", "local", "--slurm-jobs", 2, "--slurm-cpus", 1, "--slurm-wait"]
    out = run("sweep", tmp_path, *SMALL, *where).out
    assert out.count(": job ") == 2
    assert f"expander ledger merge {tmp_path} {tmp_path}/ledger.shard-*.jsonl" in out
    assert counts(*tmp_path.glob("ledger.shard-*-of-2.jsonl")) == counts(small / "ledger.jsonl")
    again = run("sweep", tmp_path, *SMALL, "--seed", 5, *where, expect=2).err
    assert "2 of 2 jobs failed" in again


def test_slurm_elsewhere_and_not_installed(tmp_path, run, monkeypatch):
    words = ["sweep", tmp_path / "s", *SMALL, "--executor", "slurm"]
    assert "must be of at most 4 shards" in run(*words, "--slurm-jobs", 5, expect=2).err
    assert "slurm-time = 0" in run(*words, "--slurm-time", 0, expect=2).err
    assert "slurm-memory = -1.0" in run(*words, "--slurm-memory", -1.0, expect=2).err
    monkeypatch.setenv("PATH", "")
    assert "slurm-cluster = slurm: cannot be used on this machine" in run(*words, expect=2).err
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert "pip install 'expander-theory[slurm]'" in run(*words, expect=2).err
    assert not (tmp_path / "s").exists()


def test_a_dask_cluster_from_the_command_line(tmp_path, small, run):
    distributed = pytest.importorskip("distributed")
    here = {"processes": False, "protocol": "tcp", "dashboard_address": ":0", "silence_logs": 50}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, **here) as cluster:
        run("sweep", tmp_path, *SMALL, "--executor", "dask", "--scheduler", cluster.scheduler_address)
    assert counts(tmp_path / "ledger.jsonl") == counts(small / "ledger.jsonl")


def test_a_dask_address_that_does_not_answer(tmp_path, run):
    pytest.importorskip("distributed")
    where = ["--executor", "dask", "--scheduler", "tcp://127.0.0.1:9", "--scheduler-timeout", 0.5]
    error = run("sweep", tmp_path / "s", *SMALL, *where, expect=2).err
    assert error.startswith(
        "expander: error: scheduler = tcp://127.0.0.1:9: no dask scheduler answers there within 0.5 s"
    )
    assert not (tmp_path / "s").exists()


def test_a_poisonous_block_is_reported_at_the_end_and_mended_later(tmp_path, small, run, blocks_run_by):
    def poisoned(task, block):
        if (task.ensemble.family, task.k, block) == ("dense", 6, 1):
            raise ValueError("poison")
        return run_block(task, block)

    blocks_run_by(poisoned)
    ended = run("sweep", tmp_path, *SMALL, "--workers", 1, "--retries", 1, expect=2)
    assert "1 block is left out after 2 attempts; the first: block 1 of dense m = 19, n = 64, k = 6" in ended.err
    assert "ValueError: poison" in ended.err
    assert "Warning" not in ended.err
    assert f"ledger: {tmp_path}" in ended.out
    found, expected = counts(tmp_path / "ledger.jsonl"), counts(small / "ledger.jsonl")
    assert [trials for trials, _ in found.values()].count(25) == 1
    assert sum(found[task] == expected[task] for task in expected) >= 7
    blocks_run_by(run_block)
    run("sweep", tmp_path, *SMALL, "--workers", 1)
    assert counts(tmp_path / "ledger.jsonl") == expected


def test_a_dry_run_writes_nothing(tmp_path, run):
    out = run("sweep", tmp_path / "s", *SMALL, "--dry-run").out
    for part in (
        "| cells",
        "| 8 ",
        "400 in 16 blocks",
        "time at most",
        "MB",
        "nothing was run or written",
    ):
        assert part in out
    assert "timed cell" in out or "takes longer than the calibration may" in out  # on a busy machine
    assert "| 2 " in run("sweep", tmp_path / "s", *SMALL, "--dry-run", "--shard", "1/4").out
    assert list(tmp_path.iterdir()) == []


def test_a_boundary_is_bracketed(tmp_path, run):
    words = ["--m", 24, "--ns", 60, "--family", "uniform", "--d", 4, "--certified-draws", 0, "--workers", 1]
    out = run("sweep", tmp_path / "b", *words, "--ks", *range(1, 15), "--boundary", 0.06).out
    assert "50 % boundary, bracketed with 95 % confidence" in out
    (row,) = [line for line in out.splitlines() if line.endswith("resolved |")]
    low, high = (float(cell) for cell in row.split("|")[5:7])
    assert 0 < low < high <= low + 2 * 0.06 + 1e-9
    with open(tmp_path / "b" / "cells.csv") as file:
        assert len(list(csv.DictReader(file))) < 14  # cells far from it cost nothing
    out = run("sweep", tmp_path / "w", *words, "--ks", 2, 8, "--half-width", 0.1, "--max-trials", 300).out
    with open(tmp_path / "w" / "cells.csv") as file:
        trials = [int(row["trials"]) for row in csv.DictReader(file)]
    assert trials[0] < trials[1] <= 300


def test_without_sparsities_a_boundary_has_a_fine_grid(tmp_path, run):
    words = ["--n", 100, "--m-over-n", 0.5, "--family", "uniform", "--boundary", 0.1, "--max-trials", 25]
    run("sweep", tmp_path, *words, "--certified-draws", 0, "--workers", 1)
    assert read_ledger(tmp_path / "ledger.jsonl")[0]["k"] == list(range(2, 31, 2))


def test_every_option_reaches_the_tasks(tmp_path, run):
    np.save(tmp_path / "rates.npy", np.linspace(0.05, 0.2, 60))
    run(
        *("sweep", tmp_path / "s", "--m", 24, "--ns", 60, "--ks", 3, "--family", "biregular", "--d", 5),
        *("--values", "flat", "--flatness", 1.5, "--signals-per-dictionary", 5, "--coefficients", "decaying"),
        *("--decay", 0.2, "--firing", tmp_path / "rates.npy", "--noise", "relative", "--sigma", 0.01),
        *("--success", "error", "--threshold", 0.1, "--solver", "topk", "--precision", "float64", "--seed", 4),
        *("--trials", 5, "--workers", 1, "--certified-draws", 0),
    )
    identity, records = read_ledger(tmp_path / "s" / "ledger.jsonl")
    (task,) = tasks_of(records).values()
    e = task.ensemble
    assert (e.family, e.m, e.n, e.d, e.values, e.flatness) == ("biregular", 24, 60, 5, "flat", 1.5)
    assert (task.k, task.codes.law, task.codes.decay, len(task.codes.firing_sha256)) == (3, "decaying", 0.2, 64)
    assert (task.noise.kind, task.noise.sigma) == ("relative", 0.01)
    assert (task.success.measure, task.success.threshold) == ("error", 0.1)
    assert (task.solver, task.precision, task.seed, task.signals_per_dictionary) == ("topk", "float64", 4, 5)
    assert str(tmp_path) not in str(identity)
    assert identity["noise"] == {"kind": "relative", "sigma": 0.01}


def test_several_solvers_see_the_same_instances(tmp_path, run):
    words = ["--m", 24, "--ns", 60, "--ks", 3, "--family", "uniform", "--d", 4, "--solver", "omp", "topk"]
    out = run("sweep", tmp_path, *words, "--workers", 1).out
    assert "| solver   |" in out
    omp, topk = tasks_of(read_ledger(tmp_path / "ledger.jsonl")[1]).values()
    assert (omp.solver, topk.solver) == ("omp", "topk")
    assert omp.instance_id == topk.instance_id


def test_a_saved_dictionary_beside_random_ones_of_its_size(tmp_path, run):
    run("build", tmp_path / "w", "--m", 24, "--n", 60, "--d", 4, "--values", "gaussian")
    words = ["--family", "file", "uniform", "--dictionary", tmp_path / "w", "--ks", 2, 6, "--workers", 1]
    run("sweep", tmp_path / "s", *words)
    tasks = list(tasks_of(read_ledger(tmp_path / "s" / "ledger.jsonl")[1]).values())
    assert {(t.ensemble.family, t.ensemble.m, t.ensemble.n, t.ensemble.d, t.dictionaries) for t in tasks} == {
        ("file", 24, 60, 4, "fixed"), ("uniform", 24, 60, 4, "fresh"),
    }  # fmt: skip
    assert {t.ensemble.sha256 for t in tasks} == {"", load_dictionary(tmp_path / "w").sha256}
    (tmp_path / "w").rename(tmp_path / "moved")
    run("sweep", tmp_path / "s", *words[:3], "--dictionary", tmp_path / "moved", *words[5:])


def test_polynomial_masks_take_the_nearest_m(tmp_path, run):
    run("sweep", tmp_path, "--n", 100, "--m-over-n", 0.3, "--k-over-m", 0.1, "--family", "polynomial", "--d", 4,
        "--trials", 5, "--workers", 1, "--certified-draws", 0)  # fmt: skip
    assert read_ledger(tmp_path / "ledger.jsonl")[0]["ensemble"]["m"] == 28  # d q, q = 7


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--m-over-n", "1.5"], "m-over-n = 1.5"),
        (["--k-over-m", "nan"], "k-over-m = nan"),
        (["--n", "0"], "n = 0"),
        (["--m", "20", "--ns", "30", "19", "--ks", "3"], "n = 19: must be at least m = 20"),
        (["--m", "20", "--ns", "30", "--ks", "3", "21"], "k = 21: must be between 1 and"),
        (["--m", "20", "--ns", "30", "--ks", "0"], "k = 0: must be between 1 and"),
        (["--m", "0", "--ns", "30", "--ks", "1"], "m = 0"),
        (["--m", "20", "--ns", "30"], "m = 20: goes with --ns and --ks"),
        (["--m", "20", "--ns", "30", "--ks", "3", "--n", "99"], "n = 99: does not go with --m"),
        (["--ks", "3"], "ks = 3: goes with --m"),
        (["--d", "600"], "d = 600"),
        (["--family", "polynomial", "--m", "24", "--d", "4", "--ns", "30", "--ks", "3"], "m = 24"),
        (["--family", "file"], "dictionary = not given"),
        (["--values", "flat", "--flatness", "9"], "flatness = 9"),
        (["--flatness", "nan"], "flatness = nan"),
        (["--coefficients", "decaying"], "decay = 0"),
        (["--noise", "absolute"], "sigma = 0"),
        (["--success", "fraction", "--threshold", "2"], "threshold = 2"),
        (["--firing", "absent.npy"], "absent.npy: no such file"),
        (["--seed", "-1"], "seed = -1"),
        (["--trials", "0"], "trials = 0"),
        (["--trials", "5", "--boundary", "0.1"], "trials, boundary"),
        (["--boundary", "0"], "boundary = 0"),
        (["--half-width", "0.7"], "half_width = 0.7"),
        (["--max-trials", "5"], "max-trials = 5"),
        (["--boundary", "0.1", "--max-trials", "0"], "max_trials = 0"),
        (["--certified-draws", "-1"], "certified-draws = -1"),
        (["--workers", "0"], "workers = 0"),
        (["--retries", "-1"], "retries = -1"),
        (["--executor", "inline", "--workers", "2"], "workers = 2"),
        (["--executor", "dask"], "scheduler = not given"),
        (["--scheduler", "tcp://127.0.0.1:1"], "goes with --executor dask"),
        (["--executor", "dask", "--scheduler", "tcp://h:1", "--scheduler-timeout", "0"], "scheduler-timeout = 0"),
        (["--executor", "dask", "--scheduler", "nonsense"], "scheduler = nonsense: must be an address"),
        (["--executor", "slurm", "--shard", "1/2"], "shard = 1/2"),
        (["--executor", "slurm", "--slurm-jobs", "0"], "slurm-jobs = 0"),
        (["--shard", "3/2"], "shard = 3/2: must be i/n with 1 <= i <= n"),
        (["--shard", "0/2"], "shard = 0/2"),
        (["--shard", "1"], "shard = 1"),
        (["--shard", "-1/2"], "shard = -1/2"),
        (["--shard", "1/19"], "shard = 1/19: must be of at most 18 shards"),
    ],
)  # fmt: skip
def test_what_is_not_possible_is_refused_before_anything_runs(run, tmp_path, blocks_run_by, words, says):
    blocks_run_by(lambda *_: pytest.fail("ran a block"))
    error = run("sweep", tmp_path / "s", *words, expect=2).err
    assert error.startswith("expander: error: ")
    assert says in error
    assert not (tmp_path / "s").exists()  # a refused sweep claims no folder


def test_shards_share_out_the_columns():
    items = list(range(11))
    parts = [list(Shard.parse(f"{i}/4").of(items)) for i in range(1, 5)]
    assert sorted(item for part in parts for item in part) == items
    assert max(map(len, parts)) - min(map(len, parts)) == 1
    with pytest.raises(InvalidArgument, match="at most 3 shards"):
        Shard(1, 4).of(items[:3])


def test_an_output_folder_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("precious")
    error = run("sweep", tmp_path / "file", *SMALL, "--workers", 1, expect=2).err
    assert str(tmp_path / "file") in error
    assert "Traceback" not in error
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    if os.access(locked, os.W_OK):
        return  # root may write anywhere
    assert str(locked) in run("sweep", locked / "s", *SMALL, "--workers", 1, expect=2).err


def test_the_choices_of_the_command_are_those_of_the_tasks(run, tmp_path):
    """Help names every choice, and a wrong one is refused with all of them."""
    import typing

    from expander_theory.commands.sweeping.options import Dictionaries, Signals
    from expander_theory.simulation.problems import LAWS, NOISES
    from expander_theory.simulation.tasks import DICTIONARIES, MEASURES, PRECISIONS
    from expander_theory.solvers import SOLVERS

    choices = {
        "--family": (*MASK_FAMILIES, "dense", "file"),
        "--coefficients": tuple(law for law in LAWS if law not in ("file", "user")),
        "--noise": tuple(kind for kind in NOISES if kind != "user"),
        "--success": tuple(measure for measure in MEASURES if measure != "user"),
        "--solver": tuple(SOLVERS),
    }
    for option, known in choices.items():
        error = run("sweep", tmp_path / "s", *SMALL, option, "nonsense", expect=2).err
        assert "nonsense" in error
        assert "path/to/file.py:function" in error
        for name in known:
            assert name in error, (option, name)
    assert not (tmp_path / "s").exists()
    for kind, name, known in (
        (Dictionaries, "dictionaries", DICTIONARIES),
        (Signals, "precision", PRECISIONS),
    ):
        assert set(typing.get_args(typing.get_type_hints(kind)[name])) == set(known)


def test_boundaries_can_be_fitted_with_fewer_trials(run, tmp_path):
    options = [
        "--n",
        "64",
        "--d",
        "4",
        "--m-over-n",
        "0.5",
        "--boundary",
        "0.03",
        "--family",
        "uniform",
        "--workers",
        "1",
    ]
    text = run("sweep", str(tmp_path / "fit"), *options, "--boundary-method", "fit").out
    assert "Fitted 50 % boundary" in text
    assert "bracketed" not in text
    assert "bracketed with 95 % confidence" in run("sweep", str(tmp_path / "bracket"), *options).out
    error = run("sweep", str(tmp_path / "x"), "--boundary-method", "fit", expect=2).err
    assert "boundary-method = fit: goes with --boundary" in error


def test_the_hint_at_the_end_draws_what_was_run(tmp_path, run, capsys):
    said = run("sweep", tmp_path / "s", *SMALL).out
    (hint,) = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("to draw the phase diagram")]
    main(shlex.split(hint)[1:])
    assert "phase_diagram.png" in capsys.readouterr().out


@pytest.mark.parametrize("shard", ["1/999999999999", "1/" + "9" * 5000, "0/3", "4/3", "1.5/3"])
def test_shards_that_cannot_be_are_refused_at_once(tmp_path, run, shard):
    assert "shard" in run("sweep", tmp_path / "s", *SMALL, "--shard", shard, expect=2).err
