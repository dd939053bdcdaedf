"""The benchmark of OMP at a tiny scale: peers, set-up apart, comparison of supports, memory, work models, report."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from support import oracles

from expander_theory import Dictionary, InvalidArgument, Mask, gaussian_dictionary, uniform_mask
from expander_theory.results.ledger import read_ledger
from experiments import bench_omp
from experiments.bench import report, sizes
from experiments.bench.agreement import compare
from experiments.bench.machine import Rates, cache_sizes, measure_rates
from experiments.bench.memory import peak_bytes
from experiments.bench.peers import PEERS, Budget, ours, plan
from experiments.bench.references import TieAwareOMP
from experiments.bench.sizes import SIZES, Size, distinct, make_problem
from experiments.bench.table import Result
from experiments.bench.timing import Timing
from experiments.bench.work import MODELS, Work, changed_entries

ROOT = Path(bench_omp.__file__).parents[1]
TINY = Size("tiny", 64, 160, 5, 6, 1.0, dict.fromkeys(SIZES["A"].signals, 40))
AMPLE = Budget(2.0**33, 100.0)
RATES = Rates((1 << 15, 1 << 20, 1 << 24), (8e10, 4e10, 2e10, 1e10), 1e9, 2e9, {"float32": 1e11, "float64": 5e10})


@pytest.fixture(params=["float32", "float64"])
def problem(request):
    return make_problem(TINY, 40, np.dtype(request.param), seed=3)


def test_a_problem_is_noiseless_sparse_and_the_same_in_both_dtypes():
    single, double = (make_problem(TINY, 40, np.dtype(name), seed=3) for name in ("float32", "float64"))
    np.testing.assert_array_equal(single.signals, double.signals.astype(np.float32))
    matrix = oracles.dense(TINY.m, double.dictionary.mask.rows, double.dictionary.values)
    for h in double.signals[:10]:
        chosen, coefficients = oracles.omp(matrix, h, TINY.k)
        assert np.linalg.norm(h - matrix[:, chosen] @ coefficients) < 1e-12 * np.linalg.norm(h)
    for order in ("C", "F"):
        assert double.dense(order).flags[f"{order}_CONTIGUOUS"]
        np.testing.assert_array_equal(double.dense(order), matrix)


def test_supports_are_distinct_and_every_pair_is_equally_likely():
    drawn = distinct(np.random.default_rng(0), 4, (24_000, 2))
    counts = np.bincount(4 * drawn[:, 0] + drawn[:, 1], minlength=16).reshape(4, 4)
    assert (np.diag(counts) == 0).all()
    assert np.abs(counts[~np.eye(4, dtype=bool)] - 2000).max() < 5 * np.sqrt(2000)


@pytest.mark.parametrize("solver", [ours(), *PEERS], ids=lambda solver: solver.key)
def test_every_solver_finds_the_supports_of_plain_omp(solver, problem):
    if solver.missing:
        pytest.skip(f"{solver.package} is not installed")
    matrix = problem.dense("C").astype(np.float64)
    expected = [np.sort(oracles.omp(matrix, h.astype(np.float64), TINY.k)[0]) for h in problem.signals]
    found = np.sort(solver.supports(solver.start(problem)(40), TINY.k), axis=1)
    exact = solver.same_rule and (solver.gram == 0 or problem.dtype == np.float64)  # float32 Gram matrices lose digits
    assert (found == expected).all(axis=1).mean() >= (1.0 if exact else 0.8)


def test_the_judge_is_plain_omp_and_sees_ties():
    mask = Mask(4, np.array([[0, 1], [1, 2], [2, 3]]))
    dictionary = Dictionary(mask, np.full((3, 2), np.sqrt(0.5)))
    support, near = TieAwareOMP.of(dictionary).support(np.array([1.0, 1.0, 1.0, 1.0]), 2)
    assert near
    assert support.tolist() == [0, 2]
    support, near = TieAwareOMP.of(dictionary).support(np.array([0.5, 0.5, 2.0, 2.0]), 2)
    assert not near
    assert support.tolist() == [0, 2]


def test_a_solver_that_cannot_run_says_why():
    spams, mp_gram = PEERS[0], next(solver for solver in PEERS if solver.key == "mp_gram")
    single, size = np.dtype(np.float32), SIZES["B"]
    absent = replace(mp_gram, package="no_such_package")
    assert plan(absent, size, single, AMPLE, 1e11)[0] == 0
    assert "pip install 'expander-theory[bench]'" in plan(absent, size, single, AMPLE, 1e11)[1]
    installed = replace(mp_gram, package="numpy"), replace(spams, package="numpy")
    for small in (Budget(2.0**26, 100.0), Budget(2.0**33, 1e-3)):
        count, remark = plan(installed[0], size, single, small, 1e11)
        assert count == 0
        assert "infeasible" in remark
        count, remark = plan(installed[1], size, single, small, 1e11)
        assert not installed[1].forms_gram(size, count)
        assert "no Gram matrix" in remark
    assert plan(installed[1], size, single, AMPLE, 1e11) == (size.signals["spams"], "")
    assert not spams.forms_gram(SIZES["E"], 1000)


def test_set_up_is_taken_out():
    kept = Timing(ours(), 100, whole=[3.0, 2.5], again=[2.0, 2.2])
    assert (kept.rate(), kept.rate("whole"), kept.setup_seconds) == (50.0, 40.0, 0.5)
    hidden = Timing(PEERS[0], 111, whole=[5.0, 4.0], least=[2.0, 3.0])
    assert hidden.seconds() == pytest.approx(2.0 * 111 / 100)
    assert Timing(PEERS[0], 111, whole=[1.0], least=[2.0]).seconds() == 1.0


def _disputes(problem, mine, theirs, peer):
    found = ((ours(), np.array(mine)), (peer, np.array(theirs)))
    timings = [Timing(solver, len(atoms), chosen=atoms) for solver, atoms in found]
    compare(problem, timings)
    return timings, Result(TINY, problem.dtype.name, timings).disputes


def test_a_wrong_support_of_ours_is_a_dispute_and_one_of_a_peer_is_not():
    problem = make_problem(TINY, 12, np.dtype(np.float64), seed=3)
    loop = next(solver for solver in PEERS if solver.key == "sparse")
    right = loop.start(problem)(12)
    wrong = right.copy()
    wrong[2, 0] = np.setdiff1d(np.arange(TINY.n), right[2])[0]
    timings, found = _disputes(problem, right, right[:, ::-1], loop)
    assert found == []
    assert (timings[1].compared, timings[1].equal) == (12, 12)
    timings, found = _disputes(problem, wrong, right, loop)
    assert [timing.ours_wrong for timing in timings] == [1, 1]
    assert found == ["tiny float64: ours (auto), 1 of 8", "tiny float64: scipy.sparse loop, 1 of 12"]
    timings, found = _disputes(problem, right, wrong, loop)
    assert (timings[1].equal, found) == (11, [])
    scikit_learn = next(solver for solver in PEERS if solver.key == "mp")
    assert _disputes(problem, right, wrong, scikit_learn)[1] == ["tiny float64: scikit-learn mp, 1 of 12"]


def test_disagreement_on_a_near_tie_is_excused():
    dictionary = Dictionary(Mask(4, np.array([[0, 1], [1, 2], [2, 3]])), np.full((3, 2), np.sqrt(0.5)))
    size = replace(TINY, m=4, n=3, d=2, k=1)
    problem = sizes.Problem(size, dictionary, np.array([[1.0, 1.0, 1.0, 1.0]]))
    loop = next(solver for solver in PEERS if solver.key == "sparse")
    timings, found = _disputes(problem, [[0]], [[2]], loop)
    assert (timings[1].equal, timings[1].excused, found) == (0, 1, [])


def test_memory_of_a_call_is_its_peak_even_after_a_larger_call():
    def allocate(count):
        np.ones(count << 20, np.uint8).sum()

    assert peak_bytes(lambda: allocate(200)) == pytest.approx(200 << 20, rel=0.05)
    assert peak_bytes(lambda: allocate(50)) == pytest.approx(50 << 20, rel=0.1)
    assert peak_bytes(lambda: None) < 1 << 20


def test_pushed_entries_are_those_of_the_rows_whose_residual_changes():
    """Counted from explicit least squares after each step."""
    dictionary = gaussian_dictionary(uniform_mask(60, 150, 4, seed=1), seed=2)
    matrix = oracles.dense(60, dictionary.mask.rows, dictionary.values)
    degrees = (matrix != 0).sum(axis=1)
    rng = np.random.default_rng(0)
    for _ in range(5):
        h = matrix[:, rng.choice(150, 8)] @ rng.standard_normal(8) + 0.1 * rng.standard_normal(60)
        chosen, _ = oracles.omp(matrix, h, 8)
        total, residual = 0, h
        for t in range(1, 9):
            atoms = matrix[:, chosen[:t]]
            after = h - atoms @ np.linalg.lstsq(atoms, h, rcond=None)[0]
            total += degrees[np.abs(after - residual) > 1e-10].sum()
            residual = after
        assert changed_entries(dictionary.mask, np.array(chosen)) == total


def test_work_becomes_time_by_the_rates(problem):
    work = Work(reads=((8e10, 1 << 14), (1.5e10, 1 << 21)), updates=1e9, gathers=4e9, flops=1e11)
    far = 1.5e10 * (1 / 64 / 8e10 + (1 / 2 - 1 / 64) / 4e10 + 1 / 2 / 2e10)
    assert work.seconds(RATES, np.dtype(np.float32)) == pytest.approx(1 + far + 1 + 2 + 1)
    atoms = ours().start(problem)(4).indices
    tile = MODELS["tile"](problem, atoms)
    assert sum(amount for amount, _ in tile.reads) == 6 * 160 * 5 * problem.dtype.itemsize
    assert MODELS["push"](problem, atoms).updates < 6 * 160 * 5


def test_rates_of_this_machine_are_plausible():
    rates = measure_rates(1e-3, largest=1 << 24)
    assert 1e3 < cache_sizes()[0] < cache_sizes()[1] < cache_sizes()[2]
    assert all(1e8 < rate < 1e13 for rate in (*rates.read, rates.scatter, rates.gather, *rates.product.values()))


@pytest.fixture
def tiny(monkeypatch):
    """The command on the tiny size alone, with rates that are not measured."""
    for name in ("A", "B", "d100"):
        monkeypatch.setitem(sizes.SIZES, name, replace(TINY, name=name))
    monkeypatch.setattr(report, "measure_rates", lambda: RATES)
    return lambda **options: bench_omp.Benchmark(sizes=("A",), quick=True, **options).run()


def test_the_report_has_every_solver_and_design_and_its_ledger_the_numbers(tiny, tmp_path, capsys):
    tiny(out=tmp_path / "bench.jsonl")
    text = capsys.readouterr().out
    identity, records = read_ledger(tmp_path / "bench.jsonl")
    assert identity["machine"]["rates"]["scatter"] == RATES.scatter
    timed = {(record["dtype"], record["solver"]) for record in records if record.get("batch")}
    names = ["ours (auto)", *(solver.name for solver in PEERS if not solver.missing)]
    assert timed == {(dtype, name) for dtype in ("float32", "float64") for name in names}
    assert {record["backend"] for record in records if "backend" in record} == set(MODELS)
    assert all(name in text for name in [*names, *MODELS, "Ours beside the best peer", "no near-tie decides"])
    with pytest.raises(InvalidArgument, match=r"bench\.jsonl: must not exist"):
        tiny(out=tmp_path / "bench.jsonl")


def test_a_wrong_support_ends_with_code_1(tiny, monkeypatch):
    honest = ours()

    def start(problem):
        solve = honest.start(problem)

        def wrong(count):
            found = solve(count)
            found.indices[0] = np.setdiff1d(np.arange(TINY.n), found.indices[0])[: TINY.k]
            return found

        return wrong

    monkeypatch.setattr(report, "ours", lambda: replace(honest, start=start))
    with pytest.raises(SystemExit) as stopped:
        tiny()
    assert isinstance(stopped.value.code, str)  # Python prints it and exits with 1
    assert "A float32: ours (auto), 1 of 5" in stopped.value.code


@pytest.mark.parametrize("name", ["repeats", "seconds", "memory", "gram_seconds"])
def test_bad_numbers_are_refused(name):
    with pytest.raises(InvalidArgument, match=f"{name} = 0: must be above 0"):
        bench_omp.Benchmark(**{name: 0}).run()


@pytest.mark.parametrize("command", [[str(ROOT / "experiments/bench_omp.py")], ["-m", "experiments.bench_omp"]])
def test_it_starts_as_a_script_and_as_a_module(command):
    done = subprocess.run([sys.executable, *command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "gram-seconds" in done.stdout


def test_the_command_line_names_every_size():
    assert get_args(bench_omp.SizeName) == tuple(SIZES)
    assert [SIZES[name].goal for name in "ABCDE"] == [12, 20, 12, 60, 150]
