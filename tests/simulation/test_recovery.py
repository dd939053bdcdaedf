"""The engine of recovery: what is planted, what the solver sees, and what counts as found."""

import numpy as np
import pytest

from expander_theory.base import InvalidArgument
from expander_theory.dictionaries import Ensemble
from expander_theory.simulation import (
    CodeLaw,
    Noise,
    Outcomes,
    PlantedCodes,
    Success,
    planted as planted_module,
    planted_codes,
    planted_recovery,
    recover_planted,
    recovered,
    solver_named,
)
from expander_theory.solvers import SOLVERS, Prepared, RecoveryStatus, omp

MASKED = Ensemble("uniform", 24, 60, 4)
DENSE = Ensemble("dense", 24, 60, 24, "gaussian")


def codes_of(k, batch, seed=1):
    return planted_codes(CodeLaw(), 60, k, batch, seed=seed)


def dense_codes(codes, n=60):
    x = np.zeros((len(codes.supports), n))
    np.put_along_axis(x, codes.supports.astype(np.int64), codes.values, axis=1)
    return x


@pytest.mark.parametrize("ensemble", [MASKED, DENSE], ids=["masked", "dense"])
@pytest.mark.parametrize("solver", ["omp", "topk", "niht"])
def test_hits_and_errors_are_those_of_the_solver_s_code(ensemble, solver):
    w, codes = ensemble.draw(2, np.float64), codes_of(7, 40)
    found = recover_planted(Prepared(w, np.float64), codes, solver_named(solver))
    x = dense_codes(codes)
    solved = SOLVERS[solver](w, x @ w.to_dense().T, 7).to_dense()
    hits = ((solved != 0) & (x != 0)).sum(axis=1)
    np.testing.assert_array_equal(found.hits, hits)
    errors = np.linalg.norm(solved - x, axis=1) / np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(found.errors, errors, rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(found.successes(Success()), hits == 7)
    assert 0 < hits.sum() < 7 * 40


@pytest.mark.parametrize("solver", ["omp", "gomp"])
@pytest.mark.parametrize("ensemble", [MASKED, DENSE], ids=["masked", "dense"])
def test_planted_rates_are_those_of_codes_solved_one_by_one(monkeypatch, ensemble, solver):
    """Drawn code by code, so neither batches nor what is prepared once for all k changes a rate."""
    w, drawn = ensemble.draw(0, np.float64), []
    sparse_code = planted_module.sparse_code
    monkeypatch.setattr(planted_module, "sparse_code", lambda *a, **b: drawn.append(sparse_code(*a, **b)) or drawn[-1])
    monkeypatch.setattr(planted_module, "_AT_ONCE", 7)
    for rate in planted_recovery(w, [2, 5, 8], trials=20, seed=3, solver=solver):
        alone = 0
        for x in drawn:
            found = SOLVERS[solver](w, w.matvec(x[None]), rate.k)
            alone += set(found.indices[0].tolist()) == set(np.flatnonzero(x).tolist())
        assert (rate.successes, rate.trials) == (alone, 20)
        assert len(drawn) == 20
        drawn.clear()


def test_the_precision_and_the_noise_of_what_is_solved():
    w, codes, seen = MASKED.draw(0, np.float32), codes_of(3, 5), []

    def spy(prepared, signals, planted):
        seen.append(signals)
        assert planted is codes
        return omp(prepared, signals, 3)

    for dtype in (np.float32, np.float64):
        recover_planted(Prepared(w, dtype), codes, spy)
        assert seen[-1].dtype == dtype
    noise, rng = Noise("absolute", 0.5), np.random.default_rng(4)
    noisy = recover_planted(Prepared(w, np.float64), codes, spy, noise=noise, seed=rng)
    expected = seen[1] + 0.5 * np.random.default_rng(4).standard_normal((5, 24))
    np.testing.assert_array_equal(seen[-1], expected)
    assert noisy.errors.min() > 1e-3
    recover_planted(Prepared(w, np.float64), codes, spy, noise=noise, seed=rng)
    assert not np.array_equal(seen[-1], seen[-2])


def test_an_early_stop_is_for_omp():
    w, codes, statuses = MASKED.draw(0, np.float64), codes_of(9, 60), []

    def with_status(solve):
        def run(*arguments):
            statuses.append(solve(*arguments))
            return statuses[-1]

        return run

    prepared = Prepared(w, np.float64)
    whole, short = (
        recover_planted(prepared, codes, with_status(solver_named("omp", early_stop=early))) for early in (False, True)
    )
    np.testing.assert_array_equal(whole.successes(Success()), short.successes(Success()))
    stopped = statuses[1].status == RecoveryStatus.FIRST_MISS
    np.testing.assert_array_equal(stopped, ~whole.successes(Success()))
    assert not (statuses[0].status == RecoveryStatus.FIRST_MISS).any()


def test_criteria_on_counts_by_hand():
    found = Outcomes(4, np.array([4, 3, 2, 0]), np.array([0.0, 0.2, 0.6, 1e6]))
    assert found.successes(Success()).tolist() == [True, False, False, False]
    assert found.successes(Success("fraction", 0.75)).tolist() == [True, True, False, False]
    assert found.successes(Success("error", 0.6)).tolist() == [True, True, True, False]


def test_recovered_takes_whole_codes_and_dictionaries_prepared_or_not():
    w, codes = MASKED.draw(0, np.float64), codes_of(6, 50)
    expected = recover_planted(Prepared(w, np.float64), codes, solver_named("omp")).successes(Success())
    for dictionary in (w, Prepared(w, np.float64)):
        np.testing.assert_array_equal(recovered(dictionary, dense_codes(codes), 6), expected)
    assert 0 < expected.sum() < 50


def test_codes_of_another_dictionary_are_refused():
    prepared = Prepared(MASKED.draw(0, np.float64), np.float64)
    wrong = PlantedCodes(np.int32([[3, 60]]), np.ones((1, 2)))
    with pytest.raises(InvalidArgument, match=r"must lie in 0\.\.59"):
        recover_planted(prepared, wrong, solver_named("omp"))


def test_errors_relative_to_the_signals():
    w = MASKED.draw(1, np.float64)
    signals = np.random.default_rng(0).standard_normal((6, 24))
    signals[2] = 0
    found = omp(w, signals, 3)
    misfit = np.linalg.norm(signals - found.to_dense() @ w.to_dense().T, axis=1)
    expected = misfit / np.where(misfit > 0, np.linalg.norm(signals, axis=1), 1)
    np.testing.assert_allclose(found.relative_errors(signals), expected, atol=1e-14)
    huge = signals * 1e300
    np.testing.assert_allclose(omp(w, huge, 3).relative_errors(huge), expected, atol=1e-12)
    assert omp(w, signals[0], 3).relative_errors(signals[0]).shape == (1,)
