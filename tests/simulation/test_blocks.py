"""Blocks of trials against an obvious loop: instances, outcomes, shared dictionaries, early stops."""

import math
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from support.cases.trial_cases import DENSE, SAME_INSTANCES, TASK, UNIFORM

from expander_theory import (
    InvalidArgument,
)
from expander_theory.base.seeds import stream
from expander_theory.simulation import trials as module
from expander_theory.simulation.trials import (
    Block,
    CodeLaw,
    Ensemble,
    Noise,
    Success,
    Task,
    recovered,
    run_block,
    signals_of,
)
from expander_theory.solvers import SOLVERS, omp

NOISY = Task(UNIFORM, 4, CodeLaw("range", range=9), Noise("relative", 0.2), Success("fraction", 0.7))


@pytest.mark.parametrize(("shared", "size"), [(1, 25), (2, 26), (5, 25), (24, 48), (40, 40)])
def test_blocks_hold_whole_dictionaries(shared, size):
    task = replace(TASK, signals_per_dictionary=shared)
    assert task.block_size == size
    assert task.clusters(size) == size // shared
    assert task.clusters(size + 1) == size // shared + 1
    assert [replace(TASK, dictionaries="cell").clusters(t) for t in (0, 1, 90)] == [0, 1, 1]


def dictionary_and_codes(task, block):
    """The instances of a block, drawn in the obvious way."""
    codes_rng = stream(task.instance_id, block, 1)
    codes = module.planted_codes(task.codes, task.ensemble.n, task.k, task.block_size, seed=codes_rng)
    if task.dictionaries == "fresh":
        rng = stream(task.instance_id, block, 0)
        drawn = [task.ensemble.draw(rng) for _ in range(task.block_size // task.signals_per_dictionary)]
        return [drawn[t // task.signals_per_dictionary] for t in range(task.block_size)], codes
    key = task.instance_id if task.dictionaries == "cell" else task.fixed_id
    return [task.ensemble.draw(stream(key, 0, 3))] * task.block_size, codes


@pytest.mark.parametrize(
    "task",
    [
        TASK,
        NOISY,
        Task(DENSE, 5, CodeLaw("uniform"), success=Success("error", 0.95), solver="topk", precision="float64"),
        replace(NOISY, signals_per_dictionary=4),
        replace(TASK, dictionaries="cell", noise=Noise("absolute", 0.1)),
        replace(TASK, dictionaries="fixed", success=Success("error", 0.3)),
    ],
    ids=str,
)
def test_a_block_is_what_an_obvious_loop_finds(task):
    dictionaries, codes = dictionary_and_codes(task, 2)
    rng = stream(task.instance_id, 2, 2)
    outcome, fractions, errors = "", [], []
    for w, support, values in zip(dictionaries, codes.supports, codes.values, strict=True):
        x = np.zeros(task.ensemble.n)
        x[support] = values
        h = w.astype(task.dtype).to_dense().astype(float) @ x
        if task.noise.kind != "none":
            level = np.linalg.norm(h) / math.sqrt(len(h)) if task.noise.kind == "relative" else 1
            h = h + task.noise.sigma * level * rng.standard_normal(len(h))
        found = SOLVERS[task.solver](w.astype(task.dtype), h.astype(task.dtype), task.k).to_dense()[0]
        common = set(np.nonzero(found)[0]) & set(support)
        fractions.append(len(common) / task.k)
        errors.append(np.linalg.norm(found - x) / np.linalg.norm(x))
        good = {
            "support": set(np.nonzero(found)[0]) == set(support),
            "fraction": fractions[-1] >= task.success.threshold,
            "error": errors[-1] <= task.success.threshold,
        }[task.success.measure]
        outcome += "1" if good else "0"
    block = run_block(task, 2)
    assert block.outcome == outcome
    assert block.fraction == pytest.approx(np.mean(fractions), rel=1e-12)
    assert block.error == pytest.approx(np.mean(errors), rel=1e-3)
    assert 0 < block.outcome.count("1") < len(outcome)


def test_blocks_depend_on_neither_order_nor_process():
    tasks = [TASK, NOISY, replace(TASK, dictionaries="cell"), replace(NOISY, dictionaries="fixed")]
    here = [run_block(task, block) for task in tasks for block in range(3)]
    backwards = [run_block(task, block) for task in reversed(tasks) for block in (2, 0, 1)]
    assert sorted(map(repr, here)) == sorted(map(repr, backwards))
    assert [run_block(task, 1) for task in tasks] == [here[i] for i in (1, 4, 7, 10)]
    program = (
        "import pickle, sys; from expander_theory.simulation.trials import run_block; "
        "tasks = pickle.load(sys.stdin.buffer); "
        "sys.stdout.write(repr([run_block(task, block) for task in tasks for block in range(3)]))"
    )
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(tasks), capture_output=True, check=True)
    assert done.stdout.decode() == repr(here)
    assert len({block.error for block in here}) == 12  # no two blocks see the same instances


def test_no_two_streams_have_one_name(monkeypatch):
    """A planted code that reused the dictionary's random numbers would be correlated with it."""
    opened = []
    monkeypatch.setattr(module, "stream", lambda *name: opened.append(name) or stream(*name))
    module._kept.clear()
    tasks = [replace(TASK, seed=9, dictionaries=kind) for kind in ("fresh", "cell", "fixed")]
    for task in (*tasks, replace(tasks[0], k=6), replace(tasks[0], signals_per_dictionary=30)):
        for block in range(3):
            run_block(task, block)
    padded = {(key, *counter, *[0] * (3 - len(counter))) for key, *counter in opened}  # as the generator sees them
    assert len(padded) == len(opened) == 3 * 3 * 3 + 2 * (3 * 2 + 1)
    draws = np.corrcoef([stream(*name).random(1000) for name in padded])
    assert np.abs(draws - np.eye(len(padded))).max() < 0.15


@pytest.mark.parametrize("kind", ["fresh", "cell", "fixed"])
def test_solvers_measures_and_precisions_see_the_same_instances(monkeypatch, kind):
    seen, solve = [], module._solve

    def spy(task, dictionary, signals, codes):
        seen.append((dictionary.values.astype(np.float32), codes.supports, codes.values, signals))
        return solve(task, dictionary, signals, codes)

    monkeypatch.setattr(module, "_solve", spy)
    task = replace(TASK, dictionaries=kind, noise=Noise("relative", 0.1))
    outcomes = [run_block(replace(task, **change), 1) for change in ({}, *SAME_INSTANCES)]
    assert len({block.outcome for block in outcomes}) > 1
    calls = len(seen) // 4
    for i in range(calls):
        for other in range(i + calls, len(seen), calls):
            for mine, theirs in zip(seen[i][:3], seen[other][:3], strict=True):
                assert np.array_equal(mine, theirs)
            np.testing.assert_allclose(seen[i][3], seen[other][3], rtol=1e-5, atol=1e-6)
    assert seen[0][3].dtype == np.float32
    assert seen[-1][3].dtype == np.float64


def test_dictionaries_are_shared_as_asked(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "_solve", lambda t, w, h, codes: seen.append(w.dictionary.sha256) or omp(w, h, t.k))

    def dictionaries(**change):
        seen.clear()
        task = replace(TASK, **change)
        for block in range(2):
            run_block(task, block)
        return list(seen)

    assert len(set(dictionaries())) == len(seen) == 50
    assert len(set(dictionaries(signals_per_dictionary=5))) == len(seen) == 10
    one, another = dictionaries(dictionaries="cell"), dictionaries(dictionaries="cell", k=6)
    assert len(set(one)) == len(set(another)) == 1
    assert one[0] != another[0]
    fixed = {w for k in (3, 6) for noise in (0.1, 0.2) for w in dictionaries(dictionaries="fixed", k=k,
             noise=Noise("absolute", noise))}  # fmt: skip
    assert len(fixed) == 1
    assert fixed != set(dictionaries(dictionaries="fixed", seed=1))


def test_dictionaries_used_last_are_kept_within_a_limit(monkeypatch):
    drawn, draw = [], Ensemble.draw
    monkeypatch.setattr(Ensemble, "draw", lambda e, *rest: drawn.append(e.n) or draw(e, *rest))
    monkeypatch.setattr(module, "_KEPT_BYTES", 3 * 60 * 4 * (4 + 4))
    module._kept.clear()
    tasks = [replace(TASK, k=k, dictionaries="cell") for k in range(1, 5)]
    wide = replace(TASK, ensemble=replace(UNIFORM, n=400), dictionaries="cell")
    for task, count in ((tasks[0], 1), (tasks[1], 2), (tasks[2], 3), (tasks[0], 3), (tasks[3], 4), (tasks[0], 4),
                        (tasks[1], 5), (wide, 6), (wide, 6), (tasks[0], 7)):  # fmt: skip
        run_block(task, 0)
        assert len(drawn) == count
    assert len(module._kept) == 1


def found_codes(indices, coefficients):
    """A recovery by hand, -1 where there is no atom."""
    recovery = omp(UNIFORM.draw(0), np.ones((len(indices), 24)), 3)
    recovery.indices[:], recovery.coefficients[:] = indices, coefficients
    return recovery


@pytest.mark.parametrize(
    ("success", "outcome"),
    [
        (Success(), "1100000"),
        (Success("fraction", 2 / 3), "1111000"),
        (Success("fraction", 0.3), "1111100"),
        (Success("error", 1e-9), "1000000"),
        (Success("error", 0.5), "1111000"),
        (Success("error", 1.0), "1111110"),
    ],
)
def test_measures_on_cases_by_hand(monkeypatch, success, outcome):
    """Planted: 2 on atom 5, 1 on atom 7, -2 on atom 9, of norm 3."""
    cases = [
        ([9, 5, 7], [-2, 2, 1], 1, 0),  # exact
        ([5, 7, 9], [2, 1, -1], 1, 1 / 3),  # right atoms, one coefficient wrong
        ([5, 9, -1], [2, -2, 0], 2 / 3, 1 / 3),  # stopped early
        ([5, 9, 8], [2, -2, 1], 2 / 3, math.sqrt(2) / 3),  # a wrong atom
        ([5, 1, 2], [2, 0, 0], 1 / 3, math.sqrt(5) / 3),  # right about one
        ([-1, -1, -1], [0, 0, 0], 0, 1),  # nothing found
        ([1, 2, 3], [1e300, np.inf, np.nan], 0, 1e6),  # diverged
    ]
    planted = module.PlantedCodes(np.tile(np.int32([5, 7, 9]), (7, 1)), np.tile([2.0, 1.0, -2.0], (7, 1)))
    monkeypatch.setattr(module, "planted_codes", lambda *_, **__: planted)
    monkeypatch.setattr(module, "_solve", lambda *_: found_codes([c[0] for c in cases], [c[1] for c in cases]))
    task = Task(UNIFORM, 3, success=success, signals_per_dictionary=7)
    monkeypatch.setattr(Task, "block_size", 7)
    block = run_block(task, 0)
    assert block.outcome == outcome
    assert block.fraction == pytest.approx(np.mean([c[2] for c in cases]))
    assert block.error == pytest.approx(np.mean([c[3] for c in cases]))
    assert math.isfinite(block.error)


@pytest.mark.parametrize("ensemble", [UNIFORM, DENSE], ids=["masked", "dense"])
def test_signals_are_products_in_double_precision(ensemble):
    w, codes = ensemble.draw(2, np.float32), module.planted_codes(CodeLaw(), 60, 5, 8, seed=1)
    x = np.zeros((8, 60))
    np.put_along_axis(x, codes.supports, codes.values, axis=1)
    h = signals_of(w, codes)
    assert h.dtype == np.float64
    np.testing.assert_allclose(h, x @ w.to_dense().astype(float).T, rtol=1e-13, atol=1e-14)


def test_recovered_compares_whole_supports():
    w = UNIFORM.draw(0)
    codes = np.zeros((2, 60))
    codes[0, [3, 8]] = 5.0, -1.0
    codes[1, [4, 9, 11, 20, 31, 40, 41, 42, 43, 44, 45]] = 1.0
    assert recovered(w, codes[:1], 2).tolist() == [True]
    assert recovered(w, codes[1:], 11).tolist() == [False]


def test_a_block_must_have_a_number():
    for block in (-1, 0.5):
        with pytest.raises(InvalidArgument, match="block = "):
            run_block(TASK, block)
    assert isinstance(run_block(TASK, np.int64(0)), Block)


@pytest.mark.parametrize("dictionaries", ["fresh", "fixed"])
@pytest.mark.parametrize("k", [3, 8, 12])
def test_early_stop_changes_no_outcome_and_measures_no_error(dictionaries, k):
    whole = Task(Ensemble("uniform", 24, 60, 4), k, dictionaries=dictionaries)
    short = replace(whole, success=Success(early_stop=True))
    assert short.instance_id == whole.instance_id
    assert short.id != whole.id
    for block in range(3):
        assert run_block(short, block).outcome == run_block(whole, block).outcome
    assert run_block(short, 0).fraction is None
    assert run_block(short, 0).error is None


def test_early_stop_is_for_the_exact_support_and_omp():
    with pytest.raises(InvalidArgument, match="early_stop = True: must be False for success by error"):
        Success("error", 0.1, early_stop=True)
    with pytest.raises(InvalidArgument, match="early_stop = True: must be False with the solver topk"):
        Task(Ensemble("uniform", 24, 60, 4), 3, success=Success(early_stop=True), solver="topk")
