import numpy as np
import pytest
from support.cases import solver_oracles as oracles
from support.cases.solver_cases import codes, noise, noise_and_codes

from expander_theory import (
    Dictionary,
    Mask,
    RecoveryStatus,
    gaussian_dictionary,
    overlap_limited_mask,
    sign_dictionary,
    uniform_mask,
)
from expander_theory.solvers import smp, ssmp


@pytest.mark.parametrize("make", [gaussian_dictionary, sign_dictionary])
def test_agrees_with_the_definition(make):
    """Odd and even numbers of rows, equal and different weights; recovery, fixed points and what goes on."""
    for d in (4, 5):
        w = make(uniform_mask(40, 60, d, seed=0), seed=1)
        h = noise_and_codes(w, 3, 10, noiseless=6)
        for limit in (1, 3, 12):
            found = smp(w, h, 3, max_iterations=limit, relative_tolerance=1e-10)
            for b in range(10):
                steps = int(found.iterations[b])
                code, taken = oracles.smp(w.to_dense(), h[b], 3, steps, 1e-10)
                scale = max(1.0, np.abs(code).max())
                np.testing.assert_allclose(found.to_dense()[b] / scale, code / scale, atol=1e-8)
                assert taken == steps
                if found.status[b] == RecoveryStatus.ITERATION_LIMIT:
                    assert steps == limit
                residual = np.linalg.norm(h[b] - w.to_dense() @ code)
                assert found.residual_norms[b] == pytest.approx(residual, rel=1e-9, abs=1e-9)
                assert (np.diff(np.abs(found.coefficients[b])) <= 0).all()
        assert RecoveryStatus.RESIDUAL_SMALL in found.status


def test_one_iteration_where_overlaps_are_small():
    """Columns share at most one of 9 rows: with 4 atoms no median is misled, on the support or off it."""
    w = sign_dictionary(overlap_limited_mask(160, 120, 9, max_overlap=1, seed=0), seed=3)
    x = codes(120, 4, 30)
    found = smp(w, w.matvec(x), 4)
    np.testing.assert_allclose(found.to_dense(), x, atol=1e-12)
    assert found.iterations.tolist() == [1] * 30
    assert (found.status == RecoveryStatus.RESIDUAL_SMALL).all()


def test_later_iterations_repair_the_first():
    w = sign_dictionary(uniform_mask(128, 256, 8, seed=0), seed=0)
    x = codes(256, 12, 20)
    once, many = smp(w, w.matvec(x), 12, max_iterations=1), smp(w, w.matvec(x), 12)
    good = many.status == RecoveryStatus.RESIDUAL_SMALL
    assert good.sum() >= 15
    np.testing.assert_allclose(many.to_dense()[good], x[good], atol=1e-10)
    assert (once.residual_norms[good] > 1e-3).sum() > 5


def test_a_stable_code_is_a_fixed_point():
    w = Dictionary(Mask(4, np.array([[0, 1, 2]])), np.ones((1, 3)))
    h = np.array([1.0, 1.0, 3.0, 5.0])
    found = smp(w, h, 1)
    assert found.status.tolist() == [RecoveryStatus.SUPPORT_STABLE]
    assert found.to_dense().tolist() == [[1.0]]
    assert found.residual_norms.tolist() == [np.sqrt(4 + 25)]
    none = smp(w, np.array([0.0, 0.0, 3.0, 5.0]), 1)  # most rows say 0
    assert none.status.tolist() == [RecoveryStatus.SUPPORT_STABLE]
    assert none.steps.tolist() == [0]


def test_of_several_medians_the_one_nearest_to_zero():
    w = Dictionary(Mask(2, np.array([[0, 1]])), np.ones((1, 2)))
    h = np.array([[1.0, 3.0], [-1.0, -3.0], [-1.0, 3.0]])
    assert smp(w, h, 1, max_iterations=1).to_dense().tolist() == [[1.0], [-1.0], [0.0]]


def test_values_of_zero_have_no_vote():
    """Nor has a column that vanishes in the precision of the signals."""
    values = np.array([[1e30, 1e30, 0.0], [1e-30, 1e-30, 0.0]])
    w = Dictionary(Mask(3, np.array([[0, 1, 2], [0, 1, 2]])), values)
    found = smp(w, np.array([2e30, 2e30, 0.0], np.float32), 1)
    np.testing.assert_allclose(found.to_dense(), [[2.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_diverges_fails_with_finite_numbers(dtype):
    """Ten columns on the same rows: each explains the whole residual, and together they overshoot, more each time."""
    w = Dictionary(Mask(8, np.tile(np.arange(3), (10, 1))), np.ones((10, 3)))
    h = np.array([[1.0, 2.0, 3.0, 0, 0, 0, 0, 0], [0, 0, 0, 1.0, 0, 0, 0, 0]], dtype)
    found = smp(w, h, 6, max_iterations=1000)
    assert found.status.tolist() == [RecoveryStatus.FAILED, RecoveryStatus.SUPPORT_STABLE]
    assert not found.to_dense().any()
    assert found.steps.tolist() == [0, 0]
    np.testing.assert_allclose(found.residual_norms, np.linalg.norm(h, axis=1), rtol=1e-6)


def test_one_at_a_time_succeeds_more_often():
    """At a sparsity where most signals defeat the parallel form, and none the sequential one."""
    w = gaussian_dictionary(uniform_mask(128, 256, 8, seed=0), seed=0)
    x = codes(256, 16, 20)
    parallel, sequential = (solver(w, w.matvec(x), 16).to_dense() for solver in (smp, ssmp))
    rates = [np.isclose(found, x, atol=1e-8).all(axis=1).mean() for found in (parallel, sequential)]
    assert rates[0] < rates[1]


def test_an_empty_batch_and_one_atom():
    w = gaussian_dictionary(uniform_mask(40, 60, 5, seed=0), seed=1)
    assert smp(w, np.zeros((0, 40)), 3).indices.shape == (0, 3)
    assert np.isfinite(smp(w, noise(5, 40), 1).coefficients).all()
    assert np.isfinite(smp(w, noise(5, 40), 40).coefficients).all()
