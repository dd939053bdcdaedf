"""Sweeps of what users bring: on every executor, from scripts, in ledgers, in figures, and what ledgers cannot do."""

import copy
import functools
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from support.brought import records_in, write_functions
from support.cases.trial_cases import DENSE, TASK, UNIFORM

from expander_theory.base import Plugin
from expander_theory.plotting import plot_phase_diagram
from expander_theory.results import FailureRecord, TaskRecord, read_records
from expander_theory.results.ledger import Ledger, read_ledger
from expander_theory.simulation.cells import InvalidRecord, boundaries, cell_rows, cells, tasks_of
from expander_theory.simulation.execution.executors import dask_executor
from expander_theory.simulation.schedules.schedule import FixedTrials, Ladder
from expander_theory.simulation.sweep import QuarantineWarning, run_certificates, run_sweep
from expander_theory.simulation.tasks import content
from expander_theory.simulation.trials import CodeLaw, Ensemble, Noise, Success, Task


@pytest.fixture
def places(tmp_path):
    mine, laws = write_functions(tmp_path)
    return lambda name: f"{mine if name == 'solve' else laws}:{name}"


@pytest.fixture
def task(places):
    """Everything is a user's."""
    return Task(
        Ensemble.from_function(places("gaussian"), 16, 40),
        2,
        CodeLaw("user", plugin=Plugin.of("plugin", places("codes"))),
        Noise("user", plugin=Plugin.of("plugin", places("noise"))),
        Success("user", plugin=Plugin.of("plugin", places("exact"))),
        places("solve"),
    )


def sweep(place, ladders, trials=50, **options):
    with Ledger(place, {"kind": "sweep"}) as ledger:
        return run_sweep(ladders, FixedTrials(trials), ledger, progress=False, **options)


def test_threads_and_dask_workers_give_the_same_counts(tmp_path, task):
    ladder = Ladder(task, (1, 2, 3))
    expected = sweep(tmp_path / "here", [ladder])
    with ThreadPoolExecutor(3) as threads:
        assert sweep(tmp_path / "threads", [ladder], executor=threads) == expected
    assert records_in(tmp_path / "threads") == records_in(tmp_path / "here")
    assert 0 < sum(cell.successes for cell in expected) < 150
    distributed = pytest.importorskip("distributed")
    where = {"threads_per_worker": 2, "processes": True, "dashboard_address": ":0", "silence_logs": 50}
    with (
        distributed.LocalCluster(n_workers=1, **where) as cluster,
        dask_executor(cluster.scheduler_address) as (executor, count),
    ):
        assert sweep(tmp_path / "dask", [ladder], executor=executor, workers=count) == expected
    assert records_in(tmp_path / "dask") == records_in(tmp_path / "here")


SCRIPT = """
import functools, sys
import numpy as np
from numba import njit
from expander_theory.results import Ledger
from expander_theory.simulation import Ladder, FixedTrials, Task, Success, run_sweep
from expander_theory.dictionaries import Ensemble

SCALE = 1.0

@njit
def largest(row, k):
    return np.argsort(-np.abs(row))[:k]

def scaled(x):
    return x * SCALE

def solver(W, signals, k):
    atoms = np.stack([largest(scaled(row), k) for row in signals @ W])
    return atoms, np.stack([np.linalg.lstsq(W[:, own], h, rcond=None)[0] for own, h in zip(atoms, signals)])

def by(factor, W, signals, k):
    return solver(W, signals * factor, k)

def law(m, n, d, rng):
    return rng.standard_normal((m, n))

def exact(planted, found):
    return ((planted != 0) == (found != 0)).all(axis=1)

if __name__ == "__main__":
    ensemble, success = Ensemble.from_function(law, 24, 48), Success("user", plugin=exact)
    solvers = (solver, functools.partial(by, 2.0))
    ladders = [Ladder(Task(ensemble, 1, solver=one, success=success), (1, 2)) for one in solvers]
    for workers in (1, 2):
        with Ledger(f"{sys.argv[1]}/{workers}.jsonl", {}) as ledger:
            run_sweep(ladders, FixedTrials(25), ledger, workers=workers, progress=False)
"""


def test_functions_of_a_script_reach_worker_processes(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    subprocess.run([sys.executable, str(tmp_path / "script.py"), str(tmp_path)], check=True, cwd=tmp_path)
    assert records_in(tmp_path / "1.jsonl") == records_in(tmp_path / "2.jsonl")
    found = cells(read_ledger(tmp_path / "2.jsonl")[1])
    assert sorted({c.task.solver_label.split()[0] for c in found}) == ["by(2.0)", "solver"]
    assert 0 < sum(cell.successes for cell in found) < 100


def test_a_ledger_gives_back_its_cells_without_the_functions(tmp_path, task):
    found = sweep(tmp_path / "l", [Ladder(task, (1, 2, 3))], 75)
    read = cells(read_ledger(tmp_path / "l")[1])
    assert sorted(read, key=str) == sorted(found, key=str)
    assert cell_rows(read)[0]["solver"] == task.solver_label
    assert cell_rows(read)[0]["family"].startswith("gaussian ")
    assert boundaries(read) == boundaries(sorted(found, key=lambda cell: read.index(cell)))
    for one in read:
        assert one.task.id in {replace(task, k=k).id for k in (1, 2, 3)}
        assert one.task.solver.function is None
        assert not one.task.solver.source
    assert str(tmp_path) not in (tmp_path / "l").read_text()


def test_an_edited_solver_adds_tasks_to_a_ledger_and_mixes_with_none(tmp_path, places):
    first = sweep(tmp_path / "l", [Ladder(Task(DENSE, 2, solver=places("solve")), (2, 3))])
    path = tmp_path / "mine.py"
    path.write_text(path.read_text().replace("[:, :k]", "[:, :1]"))
    second = sweep(tmp_path / "l", [Ladder(Task(DENSE, 2, solver=places("solve")), (2, 3))])
    assert [cell.trials for cell in first + second] == [50] * 4
    assert first[0].successes > 0 == second[0].successes
    assert {c.task.instance_id for c in first} == {c.task.instance_id for c in second}
    assert len(cells(read_ledger(tmp_path / "l")[1])) == 4


def test_failures_are_recorded_with_their_tracebacks(tmp_path, places):
    with pytest.warns(QuarantineWarning, match=r"ArithmeticError: the solver gave up \(laws.py, line 21\)"):
        sweep(tmp_path / "l", [Ladder(Task(DENSE, 2, solver=places("fails")), (2,))], 25, retries=0)
    (failure,) = read_records(tmp_path / "l", FailureRecord)
    assert failure.attempts == 1
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert 'laws.py", line 21, in fails' in failure.traceback
    assert failure.traceback.endswith("ArithmeticError: the solver gave up\n")


def test_a_long_traceback_is_cut_at_its_beginning(tmp_path):
    (tmp_path / "deep.py").write_text("def f(W, signals, k):\n    raise ValueError('x' * 50_000 + 'end')\n")
    with pytest.warns(QuarantineWarning):
        sweep(tmp_path / "l", [Ladder(Task(DENSE, 2, solver=f"{tmp_path / 'deep.py'}:f"), (2,))], 25, retries=0)
    (failure,) = read_records(tmp_path / "l", FailureRecord)
    assert len(failure.traceback) < 10_000
    assert failure.traceback.startswith("...\n")
    assert failure.traceback.endswith("end\n")


PARTS = ("solver", ("ensemble", "plugin"), ("codes", "plugin"), ("noise", "plugin"), ("success", "plugin"))
SHA = "0" * 64


@pytest.mark.parametrize("part", PARTS, ids=str)
@pytest.mark.parametrize(
    "crafted",
    [
        "evil.py:f",
        "evil:f",
        "os:system",
        ["evil.py:f"],
        5,
        {"name": "f"},
        {"name": "f", "sha256": SHA, "module": "evil"},
        {"name": "f", "sha256": SHA, "source": "raise SystemExit", "path": "evil.py"},
        {"name": "f", "sha256": SHA, "function": "evil.py:f"},
        {"name": {"name": "evil.py:f"}, "sha256": SHA},
        {},
    ],
    ids=str,
)
def test_a_ledger_makes_its_reader_run_nothing(tmp_path, task, monkeypatch, part, crafted):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil.py").write_text("open('mark', 'w').close()\n\n\ndef f(*_):\n    open('mark', 'w').close()\n")
    values = copy.deepcopy(content(task))
    inner = values if isinstance(part, str) else values[part[0]]
    inner[part if isinstance(part, str) else part[1]] = crafted
    before = set(sys.modules)
    with pytest.raises(InvalidRecord, match="cannot be read by this release"):
        tasks_of([TaskRecord(task.id, values, "1")])
    assert not (tmp_path / "mark").exists()
    assert not {name for name in set(sys.modules) - before if "evil" in name or "_expander_plugin" in name}


def test_a_record_s_paths_are_not_followed(tmp_path, task):
    values = copy.deepcopy(content(task))
    values["codes"] |= {"file": "/etc/passwd", "firing": "/etc/passwd"}
    values["ensemble"]["file"] = "/etc/passwd"
    (read,) = tasks_of([TaskRecord(task.id, values, "1")]).values()
    assert read == task
    assert (read.codes.file, read.codes.firing, read.ensemble.file) == ("", "", "")


def test_tasks_keep_the_ids_that_they_had():
    """Of the release before users could bring anything."""
    ids = {
        TASK: "7dff93437f7a2ca44a343f86b049a62c8c1322e83fed58bb87616edf395f5353",
        replace(TASK, ensemble=DENSE): "f1d3676455d4cb279092771e2853ea8239fe2bc8becbbbdfc6226276eb4dc644",
        replace(TASK, codes=CodeLaw("decaying", decay=0.2)):
            "8d12d3e277083a27e64aa44a43548a2a42db639332a778b29688e74f6d8a386c",
        replace(TASK, noise=Noise("relative", 0.1)): "f91b80f73b7dcac13374777fdfdec77ec996c7e7593780fdcc1254600818149c",
        replace(TASK, success=Success("error", 0.1)):
            "e053acb4157f65dc3a6f0d5cc6b08e92d155d2fccf1bdc31e60d80f9df4f8d82",
        replace(TASK, success=Success(early_stop=True)):
            "635d590694124f0f09eaeb64f88fb5874ca6782fff8b6b1e751cf590c50765f5",
        replace(TASK, solver="topk", dictionaries="fixed"):
            "524c6740475e316d88c9d818a5d3944df8200a995007ffcb7bf33a17e227c3b0",
        replace(TASK, ensemble=replace(UNIFORM, values="flat", flatness=1.5)):
            "d178c3347b5947203c5f8f97e2ed3a8d892c92dcefe322d5ed863ec4445af46d",
    }  # fmt: skip
    assert {task.id: expected for task, expected in ids.items() if task.id != expected} == {}


def test_each_function_is_part_of_the_instances_or_not(task, places):
    others = {
        "ensemble": Ensemble.from_function(places("breaks"), 16, 40),
        "codes": CodeLaw("user", plugin=Plugin.of("plugin", places("noise"))),
        "noise": Noise("user", plugin=Plugin.of("plugin", places("codes"))),
        "success": Success("user", plugin=Plugin.of("plugin", places("codes"))),
        "solver": places("fails"),
    }
    changed = {name: replace(task, **{name: other}) for name, other in others.items()}
    assert len({task.id, *(one.id for one in changed.values())}) == 6
    assert {name for name, one in changed.items() if one.instance_id == task.instance_id} == {"success", "solver"}
    assert pickle.loads(pickle.dumps(task)) == task
    assert pickle.loads(pickle.dumps(task)).id == task.id


def test_certificates_of_a_user_s_ensembles_are_kept_apart(tmp_path, places):
    (tmp_path / "other.py").write_text((tmp_path / "laws.py").read_text().replace("rng.standard_normal((m, n))",
                                       "rng.random((m, n))", 1))  # fmt: skip
    ensembles = [Ensemble.from_function(p, 16, 24) for p in (places("gaussian"), f"{tmp_path / 'other.py'}:gaussian")]
    with Ledger(tmp_path / "l", {}) as ledger:
        for _ in range(2):
            run_certificates([*ensembles, Ensemble("dense", 16, 24, 16, "gaussian")], 2, ledger, progress=False)
        records = ledger.records
    assert [record.sha256 for record in records] == [ensembles[0].plugin.sha256] * 2 + [
        ensembles[1].plugin.sha256] * 2 + [""] * 2  # fmt: skip
    assert len({record.family for record in records}) == 3
    assert all(record.certified_k >= 0 for record in records)


def law(m, n, d, rng, *, text="", scale=1.0, options=None):
    return rng.standard_normal((m, n))


def nothing(W, signals, k, *, text=""):
    return np.zeros((len(signals), W.shape[1]))


@pytest.mark.parametrize(
    "change",
    [
        {"law": law},
        {"law": functools.partial(law, scale=-1.0)},
        {"law": functools.partial(law, text="$x_{")},
        {"law": functools.partial(law, options={"a": 1})},
        {"solver": nothing},
        {"solver": functools.partial(nothing, text="$x_{$")},
        {"solver": functools.partial(nothing, text="{d}")},
    ],
    ids=["law", "negative", "mathematics", "braces", "solver", "solver-mathematics", "solver-braces"],
)
def test_a_diagram_has_one_panel_for_all_sizes_whatever_the_name(tmp_path, change):
    brought = change.get("law")
    ladders = []
    for m in (12, 16):
        own = Ensemble.from_function(brought, m, 32) if brought else Ensemble("dense", m, 32, m, "gaussian")
        ladders.append(Ladder(Task(own, 1, solver=change.get("solver", "omp")), (1, 2)))
    sweep(tmp_path / "ledger.jsonl", ladders, 25)
    axes = plot_phase_diagram(tmp_path)
    try:
        axes.get_figure().savefig(tmp_path / "figure.png", dpi=30)
        if brought:
            assert Ensemble.from_function(brought, 12, 32).plugin.name.split("(")[0] in axes.get_title()
            assert "mask" not in axes.get_title()
            assert ("scale=-1.0" in axes.get_title()) == ("-1.0" in str(change))
    finally:
        plt.close("all")
