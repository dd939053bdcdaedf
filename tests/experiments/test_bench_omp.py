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
from experiments.bench import omp, sizes, torch_omp
from experiments.bench.agreement import Agreement, Judge, TieAwareOMP
from experiments.bench.driver import Measured
from experiments.bench.machine import Rates, cache_sizes, measure_rates
from experiments.bench.omp import OMPBenchmark, Timed
from experiments.bench.omp_peers import PEERS, SOLVERS, ours, plan
from experiments.bench.omp_work import MODELS, Work, entries_met
from experiments.bench.sizes import SIZES, Size, distinct, make_problem

ROOT = Path(omp.__file__).parents[2]
TINY = Size("tiny", 64, 160, 5, 6, 1.0, dict.fromkeys(SIZES["A"].signals, 40))
AMPLE = 2.0**33
RATES = Rates((1 << 15, 1 << 20, 1 << 24), (8e10, 4e10, 2e10, 1e10), 1e9, 2e9, {"float32": 1e11, "float64": 5e10})
LOOP, SPAMS = SOLVERS["scipy.sparse loop"], SOLVERS["SPAMS"]


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
    single, size = np.dtype(np.float32), SIZES["B"]
    absent, installed = (
        replace(SOLVERS["scikit-learn mp_gram"], package=name) for name in ("no_such_package", "numpy")
    )
    assert plan(absent, size, single, AMPLE)[0] == 0
    assert "pip install 'expander-theory[bench]'" in plan(absent, size, single, AMPLE)[1]
    count, remark = plan(installed, size, single, 2.0**26)
    assert count == 0
    assert "infeasible: about 0.2 GiB" in remark
    assert plan(installed, size, single, AMPLE) == (size.signals["mp_gram"], "")
    assert "timed once" in plan(installed, SIZES["D"], single, AMPLE)[1]


def test_every_batch_is_declared_and_spams_forms_its_gram_matrix_wherever_it_can():
    for size in SIZES.values():
        assert set(size.signals) == {solver.key for solver in SOLVERS.values()}
        assert all(signals > 0 for signals in size.signals.values())
        fewest = -(-size.signals["spams"] // omp.QUICK_SHARE)
        assert SPAMS.forms_gram(size, fewest) == (size.n < 25_000)
        assert fewest > SPAMS.gram_signals or size.n >= 25_000  # or the slope between two batches says nothing
    spams = replace(SPAMS, package="numpy")
    assert plan(spams, SIZES["D"], np.dtype(np.float32), 3 * 2.0**30)[0] == 256
    assert "no Gram matrix" in plan(spams, SIZES["E"], np.dtype(np.float32), AMPLE)[1]


def test_set_up_is_taken_out():
    def timed(solver, batch, **seconds):
        return Timed(solver, Measured(solver.name, batch, seconds, 0), Agreement(0, 0))

    kept = timed(ours(), 100, whole=[3.0, 2.5], again=[2.0, 2.2])
    assert (kept.rate(), kept.rate("whole"), kept.setup_seconds) == (50.0, 40.0, 0.5)
    hidden = timed(SPAMS, 111, whole=[5.0, 4.0], fewer=[2.0, 3.0])
    assert hidden.seconds() == pytest.approx(2.0 * 111 / 100)
    assert timed(SPAMS, 111, whole=[1.0], fewer=[2.0]).seconds() == 1.0


def test_a_wrong_support_of_ours_is_a_fault_and_one_of_a_peer_is_not():
    problem = make_problem(TINY, 12, np.dtype(np.float64), seed=3)
    judge = Judge(problem.dictionary, problem.signals, TINY.k)
    right = LOOP.start(problem)(12)
    wrong = right.copy()
    wrong[2, 0] = np.setdiff1d(np.arange(TINY.n), right[2])[0]
    assert judge.between(right, right[:, ::-1]) == Agreement(12, 12)
    assert judge.between(wrong, right) == Agreement(12, 11, ours_wrong=1)
    assert judge.between(right, wrong) == Agreement(12, 11, theirs_wrong=1)
    assert judge.between(wrong, right, same_rule=False) == Agreement(12, 11)
    assert judge.alone(wrong) == Agreement(8, 7, ours_wrong=1)
    assert judge.alone(right) == Agreement(8, 8)
    theirs = Agreement(12, 11, theirs_wrong=1)
    assert omp._fault("A", "float64", LOOP.name, Agreement(12, 11, ours_wrong=1)) == f"A float64: {LOOP.name}, 1 of 12"
    assert omp._fault("A", "float64", LOOP.name, theirs) == ""
    assert omp._fault("A", "float32", "scikit-learn mp", theirs) == ""
    assert omp._fault("A", "float64", "scikit-learn mp", theirs) == "A float64: scikit-learn mp, 1 of 12"


def test_disagreement_on_a_near_tie_is_excused():
    dictionary = Dictionary(Mask(4, np.array([[0, 1], [1, 2], [2, 3]])), np.full((3, 2), np.sqrt(0.5)))
    judge = Judge(dictionary, np.array([[1.0, 1.0, 1.0, 1.0]]), 1)
    assert judge.between(np.array([[0]]), np.array([[2]])) == Agreement(1, 0, excused=1)


def test_entries_met_are_those_of_the_rows_of_each_atom():
    """Counted in the dense matrix, rows that two atoms share twice; padding counts nothing."""
    dictionary = gaussian_dictionary(uniform_mask(60, 150, 4, seed=1), seed=2)
    matrix = oracles.dense(60, dictionary.mask.rows, dictionary.values)
    for atoms in np.random.default_rng(0).integers(150, size=(5, 8)):
        expected = sum(int((matrix[matrix[:, j] != 0] != 0).sum()) for j in atoms)
        assert entries_met(dictionary.mask, np.append(atoms, -1)) == expected


def test_work_becomes_time_by_the_rates(problem):
    work = Work(reads=((8e10, 1 << 14), (1.5e10, 1 << 21)), updates=1e9, gathers=4e9, flops=1e11)
    far = 1.5e10 * (1 / 64 / 8e10 + (1 / 2 - 1 / 64) / 4e10 + 1 / 2 / 2e10)
    assert work.seconds(RATES, np.dtype(np.float32)) == pytest.approx(1 + far + 1 + 2 + 1)
    atoms = ours().start(problem)(4).indices
    tile = MODELS["tile"](problem, atoms)
    assert sum(amount for amount, _ in tile.reads) == 6 * 160 * 5 * 2
    assert MODELS["push"](problem, atoms).updates < 6 * 160 * 5


def test_rates_of_this_machine_are_plausible():
    rates = measure_rates(1e-3, largest=1 << 24)
    assert 1e3 < cache_sizes()[0] < cache_sizes()[1] < cache_sizes()[2]
    assert all(1e8 < rate < 1e13 for rate in (*rates.read, rates.scatter, rates.gather, *rates.product.values()))


@pytest.fixture
def tiny(monkeypatch):
    """The command on the tiny size alone, with rates that are not measured."""
    for name in ("A", "B"):
        monkeypatch.setitem(sizes.SIZES, name, replace(TINY, name=name, once=frozenset({"mp"})))
    monkeypatch.setattr(omp, "measure_rates", lambda: RATES)
    return lambda *names, **options: OMPBenchmark(sizes=names or ("A",), quick=True, **options).run()


def test_the_report_has_every_solver_and_backend_and_its_ledger_the_numbers(tiny, tmp_path, capsys):
    tiny(out=tmp_path / "bench.jsonl", pyperf=tmp_path / "bench.json")
    text = capsys.readouterr().out
    identity, records = read_ledger(tmp_path / "bench.jsonl")
    assert "numpy" in identity["machine"]["packages"]
    names = ["ours (auto)", *(solver.name for solver in PEERS if not solver.missing)]
    for dtype, record in zip(("float32", "float64"), records, strict=True):
        assert record["dtype"] == dtype
        assert [one["name"] for one in record["measured"]] == names
        assert {one["batch"] for one in record["measured"]} == {5}
    assert [one["backend"] for one in records[0]["backends"]] == list(MODELS)
    assert all(name in text for name in [*names, *MODELS, "Ours beside the best peer", "rounding does not decide"])
    pyperf = pytest.importorskip("pyperf")
    written = pyperf.BenchmarkSuite.load(str(tmp_path / "bench.json"))
    again = records[0]["measured"][0]["seconds"]["again"]
    assert written.get_benchmark("A, float32, ours (auto), again").get_values() == (again[0] / 5,)
    with pytest.raises(InvalidArgument, match=r"bench\.json: must not exist"):
        tiny(pyperf=tmp_path / "bench.json")


def test_a_second_run_measures_only_what_the_ledger_lacks(tiny, tmp_path, capsys):
    tiny(out=tmp_path / "bench.jsonl")
    first = read_ledger(tmp_path / "bench.jsonl")[1]
    capsys.readouterr()
    tiny("A", "B", out=tmp_path / "bench.jsonl")
    second = read_ledger(tmp_path / "bench.jsonl")[1]
    assert second[:2] == first
    assert [record["size"] for record in second] == ["A", "A", "B", "B"]
    assert capsys.readouterr().out.count("| ours (auto) ") == 4  # the stored ones are shown too


def test_a_wrong_support_ends_with_code_1(tiny, monkeypatch):
    honest = ours()

    def start(problem):
        solve = honest.start(problem)

        def wrong(count):
            found = solve(count)
            found.indices[0] = np.setdiff1d(np.arange(TINY.n), found.indices[0])[: TINY.k]
            return found

        return wrong

    monkeypatch.setitem(SOLVERS, honest.name, replace(honest, start=start))
    with pytest.raises(SystemExit) as stopped:
        tiny()
    assert isinstance(stopped.value.code, str)  # Python prints it and exits with 1
    assert "A float32: ours (auto), 1 of 5" in stopped.value.code


@pytest.mark.parametrize("name", ["repeats", "memory"])
def test_bad_numbers_are_refused(name):
    with pytest.raises(InvalidArgument, match=f"{name} = 0: must be above 0"):
        OMPBenchmark(**{name: 0}).run()


def test_it_starts_as_a_module():
    command = [sys.executable, "-m", "experiments.bench.omp"]
    done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--memory" in done.stdout
    failed = subprocess.run([*command, "--memory", "0"], cwd=ROOT, capture_output=True, text=True)
    assert (failed.returncode, failed.stderr) == (2, "error: memory = 0.0: must be above 0\n")


def test_the_command_line_names_every_size():
    assert get_args(omp.SizeName) == tuple(SIZES)
    assert [SIZES[name].goal for name in "ABCDE"] == [10, 20, 12, 60, 60]


def test_torch_omp_is_compared_with_the_compiled_one(monkeypatch, capsys):
    monkeypatch.setitem(sizes.SIZES, "A", TINY)
    monkeypatch.setattr(torch_omp.Limits, "of", lambda *_: torch_omp.Limits(1e10, 1e11))
    benchmark = torch_omp.TorchOMPBenchmark(sizes=("A",), device="cpu", batch=20, compared=8, repeats=1)
    benchmark.run()
    text = capsys.readouterr().out
    assert text.count("8/8") == 2
    assert "compiled, CPU" in text
    monkeypatch.setattr(torch_omp.TorchOMPBenchmark, "_first_supports", lambda *_: np.zeros((8, TINY.k), np.int64))
    with pytest.raises(SystemExit, match="A product\nA gather"):
        benchmark.run()
    with pytest.raises(InvalidArgument, match="compared = 0: must be at least 1"):
        replace(benchmark, compared=0).run()


def test_limits_of_torch_omp():
    problem, limits = make_problem(TINY, 2, np.dtype(np.float32), seed=0), torch_omp.Limits(1e10, 1e11)
    assert limits.signals(problem, "product") == pytest.approx(1e11 / (2 * 64 * 160 * 6))
    assert limits.signals(problem, "gather") == pytest.approx(1e10 / (160 * 5 * 6 * 4))
