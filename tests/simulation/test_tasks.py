"""Tasks: what is refused, and ids that tell them apart."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from support.cases.trial_cases import DENSE, SAME_INSTANCES, TASK, UNIFORM

from expander_theory import (
    InvalidArgument,
)
from expander_theory.simulation.trials import (
    CodeLaw,
    Ensemble,
    Noise,
    Success,
    Task,
)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"k": 25}, "k"),
        ({"k": 0}, "k"),
        ({"k": 2.5}, "k"),
        ({"ensemble": "uniform"}, "ensemble"),
        ({"codes": "gaussian"}, "codes"),
        ({"noise": 0.1}, "noise"),
        ({"success": "support"}, "success"),
        ({"codes": CodeLaw("decaying", decay=300)}, "decay"),
        ({"solver": "x"}, "solver"),
        ({"dictionaries": "new"}, "dictionaries"),
        ({"precision": "float16"}, "precision"),
        ({"signals_per_dictionary": 0}, "signals_per_dictionary"),
        ({"signals_per_dictionary": 2, "dictionaries": "cell"}, "signals_per_dictionary"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_tasks_are_refused(change, name):
    with pytest.raises(InvalidArgument) as caught:
        replace(TASK, **change)
    assert caught.value.name == name


def test_firing_rates_must_have_the_ensemble_s_width(tmp_path):
    np.save(tmp_path / "r.npy", np.full(59, 0.1))
    codes = CodeLaw(firing=str(tmp_path / "r.npy"))
    with pytest.raises(InvalidArgument, match="each of n = 60 columns"):
        Task(UNIFORM, 3, codes)
    Task(replace(UNIFORM, n=59), 3, codes)


@pytest.mark.parametrize(
    ("measure", "threshold", "name"),
    [("speed", 0, "measure"), ("support", 0.5, "threshold"), ("fraction", 0, "threshold"),
     ("fraction", 1.1, "threshold"), ("error", math.nan, "threshold"), ("error", "x", "threshold")],
)  # fmt: skip
def test_impossible_measures_are_refused(measure, threshold, name):
    with pytest.raises(InvalidArgument) as caught:
        Success(measure, threshold)
    assert caught.value.name == name


CHANGES = [
    {"k": 6}, {"ensemble": DENSE}, {"codes": CodeLaw("signs")}, {"noise": Noise("absolute", 1)}, {"seed": 1},
    {"dictionaries": "cell"}, {"signals_per_dictionary": 2},
]  # fmt: skip


def test_ids_tell_tasks_apart_and_instances_by_what_is_drawn():
    tasks = [TASK, *(replace(TASK, **change) for change in CHANGES + SAME_INSTANCES)]
    assert len({task.id for task in tasks}) == len(tasks)
    assert len({task.instance_id for task in tasks}) == 1 + len(CHANGES)
    equal = Task(Ensemble("uniform", np.int64(24), 60, 4, flatness=0), np.int32(5), seed=np.int64(0))
    assert equal == TASK
    assert equal.id == TASK.id
    assert pickle.loads(pickle.dumps(TASK)).id == TASK.id


def test_an_id_changes_with_the_kernel_version(monkeypatch):
    from expander_theory.simulation import tasks

    before = replace(TASK, seed=5)
    kept = before.instance_id
    monkeypatch.setattr(tasks, "KERNEL_VERSION", "another")
    assert replace(TASK, seed=5).instance_id != kept
    assert tasks.task_id(before, "another") != tasks.task_id(before, "1")
