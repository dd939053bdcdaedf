import math
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from expander_theory import (
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    InvalidFile,
    flat_dictionary,
    masks,
    sign_dictionary,
    uniform_mask,
)
from expander_theory.base.seeds import generator, stream
from expander_theory.results.files import write_arrays
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

UNIFORM = Ensemble("uniform", 24, 60, 4)
DENSE = Ensemble("dense", 24, 60, 24, "gaussian")
TASK = Task(UNIFORM, 5)
NOISY = Task(UNIFORM, 4, CodeLaw("range", range=9), Noise("relative", 0.2), Success("fraction", 0.7))

SHAPES = [
    ("uniform", 20, 50, 4), ("biregular", 20, 50, 4), ("progressive-edge-growth", 20, 50, 4),
    ("overlap-limited", 20, 50, 4), ("polynomial", 20, 25, 4), ("polynomial", 20, 60, 4), ("euler-square", 18, 36, 3),
    ("affine-plane", 9, 12, 3), ("projective-plane", 13, 13, 4), ("generalised-quadrangle", 15, 15, 3),
    ("generalised-quadrangle", 27, 45, 3), ("complete-graph", 10, 5, 4), ("complete-design", 6, 15, 2),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("values", [("signs", 0.0), ("gaussian", 0.0), ("flat", 1.2)])
def test_every_family_draws_its_dictionary(shape, values):
    ensemble = Ensemble(*shape, *values)
    w = ensemble.draw(3)
    assert (w.m, w.n, w.d) == (ensemble.m, ensemble.n, ensemble.d)
    np.testing.assert_allclose(w.column_norms, 1, rtol=1e-14)
    Dictionary(masks.Mask(w.m, w.mask.rows), w.values)  # passes the checks that drawing leaves out
    assert not w.values.flags.writeable
    assert not w.mask.rows.flags.writeable
    assert w.sha256 == ensemble.draw(3).sha256
    other = ensemble.draw(4)
    assert w.sha256 != other.sha256
    random = ensemble.family in ("uniform", "biregular", "progressive-edge-growth", "overlap-limited")
    assert (w.mask != other.mask) == random
    assert np.array_equal(ensemble.draw(3, np.float32).values, w.values.astype(np.float32))


def test_fixed_families_are_the_constructions():
    drawn = {shape: Ensemble(*shape).draw(0).mask for shape in SHAPES}
    assert drawn["polynomial", 20, 60, 4] == masks.polynomial_mask(5, 4, r=3, n=60)
    assert drawn["euler-square", 18, 36, 3] == masks.euler_square_mask(6, 3)
    assert drawn["affine-plane", 9, 12, 3] == masks.affine_plane_mask(3)
    assert drawn["projective-plane", 13, 13, 4] == masks.projective_plane_mask(3)
    assert drawn["generalised-quadrangle", 15, 15, 3] == masks.generalised_quadrangle_mask(2, 2)
    assert drawn["generalised-quadrangle", 27, 45, 3] == masks.generalised_quadrangle_mask(2, 4)
    assert drawn["complete-graph", 10, 5, 4] == masks.complete_graph_mask(5)
    assert drawn["complete-design", 6, 15, 2] == masks.complete_design_mask(6, 2)


def test_draws_are_those_of_the_public_functions():
    rng = stream("0f" * 32, 1)
    mask = uniform_mask(24, 60, 4, seed=rng)
    signs = sign_dictionary(mask, seed=rng)
    assert UNIFORM.draw(stream("0f" * 32, 1)).sha256 == signs.sha256


def test_signs_are_those_that_a_seed_always_gave():
    mask = uniform_mask(24, 60, 4, seed=1)
    signs = 2.0 * generator(5, "signs").integers(0, 2, (60, 4)) - 1.0
    assert np.array_equal(sign_dictionary(mask, seed=5).values, signs / 2)
    rng = generator(5, "flat values")
    moduli = np.full((60, 4), math.sqrt((1 - 0.75**2) / 3))
    moduli[np.arange(60), rng.integers(0, 4, 60)] = 0.75
    expected = moduli * (2.0 * rng.integers(0, 2, (60, 4)) - 1.0)
    np.testing.assert_allclose(flat_dictionary(mask, flatness=1.5, seed=5).values, expected, rtol=1e-15)


def test_limited_overlap_is_the_least_that_greedy_search_reaches():
    w = Ensemble("overlap-limited", 40, 30, 4).draw(1)
    overlaps = (w.mask.to_scipy().T @ w.mask.to_scipy()).toarray()
    np.fill_diagonal(overlaps, 0)
    assert overlaps.max() == 1  # 0 would need n d <= m
    crowded = Ensemble("overlap-limited", 4, 30, 2).draw(1)  # more columns than pairs of rows: equal ones are allowed
    assert len(np.unique(crowded.mask.rows, axis=0)) < 30


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("tree", 24, 60, 4), "family"),
        (("uniform", 24, 60, 25), "d"),
        (("uniform", 24, 60, 0), "d"),
        (("uniform", 0, 60, 1), "m"),
        (("uniform", 24, 0, 1), "n"),
        (("uniform", 24.5, 60, 4), "m"),
        (("uniform", 24, 60, 4, "none"), "values"),
        (("uniform", 24, 60, 4, "stored"), "values"),
        (("uniform", 24, 60, 4, "flat"), "flatness"),
        (("uniform", 24, 60, 4, "flat", 2.5), "flatness"),
        (("uniform", 24, 60, 4, "signs", math.nan), "flatness"),
        (("uniform", 24, 60, 4, "signs", "x"), "flatness"),
        (("uniform", 24, 60, 4, "signs", 0, "w.safetensors"), "file"),
        (("dense", 24, 60, 4, "gaussian"), "d"),
        (("dense", 24, 60, 24, "signs"), "values"),
        (("polynomial", 24, 60, 5), "m"),
        (("polynomial", 24, 60, 4), "m"),
        (("polynomial", 24, 5000, 3), "r"),
        (("euler-square", 19, 36, 3), "m"),
        (("euler-square", 24, 36, 4), "d"),
        (("euler-square", 18, 35, 3), "n"),
        (("euler-square", 3, 1, 3), "d"),
        (("affine-plane", 36, 42, 6), "d"),
        (("affine-plane", 10, 12, 3), "m"),
        (("affine-plane", 9, 13, 3), "n"),
        (("projective-plane", 13, 12, 4), "n"),
        (("projective-plane", 43, 43, 7), "d"),
        (("generalised-quadrangle", 16, 15, 3), "m"),
        (("generalised-quadrangle", 27, 27, 3), "n"),
        (("complete-graph", 11, 5, 4), "m"),
        (("complete-design", 6, 14, 2), "n"),
        (("complete-design", 512, 14, 100), "n"),
        (("file", 24, 60, 4), "values"),
        (("file", 24, 60, 4, "stored"), "file"),
    ],
)
def test_impossible_ensembles_are_refused(arguments, name):
    with pytest.raises(InvalidArgument) as caught:
        Ensemble(*arguments)
    assert caught.value.name == name


def test_an_impossible_design_is_told_what_is_possible():
    with pytest.raises(InvalidArgument, match="m = 16: must be 15 or 27 for the family generalised-quadrangle"):
        Ensemble("generalised-quadrangle", 16, 15, 3)


@pytest.fixture
def decoder(tmp_path):
    """A saved dictionary whose columns have norms from 1/2 to 2, as a trained decoder may have."""
    mask = uniform_mask(24, 60, 4, seed=1)
    values = sign_dictionary(mask, seed=2).values * np.logspace(-1, 1, 60, base=2)[:, None]
    Dictionary(mask, values.astype(np.float32)).save(tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_a_file_is_an_ensemble_of_one_with_unit_columns(decoder):
    ensemble = Ensemble.from_file(decoder)
    assert (ensemble.m, ensemble.n, ensemble.d, ensemble.values) == (24, 60, 4, "stored")
    assert ensemble == Ensemble("file", 24, 60, 4, "stored", file=str(decoder))
    w = ensemble.draw(0)
    assert w.dtype == np.float64
    np.testing.assert_allclose(w.column_norms, 1, rtol=1e-6)
    np.testing.assert_allclose(w.values, sign_dictionary(w.mask, seed=2).values, rtol=1e-6)
    assert ensemble.draw(1).sha256 == w.sha256
    with pytest.raises(InvalidArgument, match="n = 61: must be 60"):
        Ensemble("file", 24, 61, 4, "stored", file=str(decoder))


def test_a_dense_file_is_an_ensemble_too(tmp_path):
    DENSE.draw(1).save(tmp_path / "dense.safetensors")
    ensemble = Ensemble.from_file(tmp_path / "dense.safetensors")
    assert isinstance(ensemble.draw(0), DenseDictionary)
    assert run_block(Task(ensemble, 1, dictionaries="fixed"), 0).outcome == "1" * 25


def test_the_content_of_a_file_is_its_identity_not_its_place(decoder, tmp_path):
    moved = tmp_path / "elsewhere.safetensors"
    moved.write_bytes(decoder.read_bytes())
    tasks = [Task(Ensemble.from_file(path), 3, dictionaries="fixed") for path in (decoder, moved)]
    assert tasks[0] == tasks[1]
    assert tasks[0].id == tasks[1].id
    assert run_block(tasks[0], 0) == run_block(tasks[1], 0)
    other = Ensemble.from_file(decoder).draw(0)
    other.save(tmp_path / "other.safetensors")
    assert Task(Ensemble.from_file(tmp_path / "other.safetensors"), 3, dictionaries="fixed").id != tasks[0].id


def test_a_file_that_changed_or_is_unusable_is_refused(decoder, tmp_path):
    task = Task(Ensemble.from_file(decoder), 3, dictionaries="fixed", seed=77)
    UNIFORM.draw(5).save(decoder)
    with pytest.raises(InvalidFile, match=r"w\.safetensors: has changed"):
        run_block(task, 0)
    decoder.unlink()
    with pytest.raises(InvalidFile, match="no such file"):
        run_block(task, 0)
    w = UNIFORM.draw(0)
    values = w.values.copy()
    values[7, 2] = np.nan
    arrays = {"rows": w.mask.rows, "values": values}
    write_arrays(decoder, "expander-dictionary", 1, {"m": 24, "recipe": "x"}, arrays)
    with pytest.raises(InvalidFile, match=r"w\.safetensors: holds no usable dictionary.*NaN"):
        Ensemble.from_file(decoder)
    with pytest.raises(InvalidArgument, match="must name the file of the dictionary"):
        replace(task.ensemble, file="").draw(0)


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


def test_a_file_s_one_dictionary_is_fixed(decoder):
    with pytest.raises(InvalidArgument, match="dictionaries = fresh: must be fixed"):
        Task(Ensemble.from_file(decoder), 3)


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
SAME_INSTANCES = [{"solver": "topk"}, {"success": Success("error", 0.1)}, {"precision": "float64"}]


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
