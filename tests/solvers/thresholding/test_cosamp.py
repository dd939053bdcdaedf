import numpy as np
import pytest
from support.cases import solver_oracles as oracles
from support.cases.solver_cases import codes, generic_dictionary, noise, noise_and_codes

from expander_theory import (
    DenseDictionary,
    RecoveryStatus,
    dense_gaussian_dictionary,
    gaussian_dictionary,
    uniform_mask,
)
from expander_theory.solvers.thresholding.cosamp import cosamp


@pytest.mark.parametrize("masked", [True, False])
def test_agrees_with_the_definition(masked):
    """Noisy and noiseless signals, after few and after many iterations."""
    w = generic_dictionary(masked, 48, 90)
    h = noise_and_codes(w, 5, 12, noiseless=4)
    for limit in (1, 2, 40):
        found = cosamp(w, h, 5, max_iterations=limit, relative_tolerance=1e-10)
        for b in range(12):
            code, steps = oracles.cosamp(w.to_dense(), h[b], 5, limit, 1e-10)
            np.testing.assert_allclose(found.to_dense()[b], code, atol=1e-8)
            if found.status[b] != RecoveryStatus.SUPPORT_STABLE:  # the oracle goes on, and stays where it is
                assert found.iterations[b] == steps
            assert found.residual_norms[b] == pytest.approx(np.linalg.norm(h[b] - w.to_dense() @ code), abs=1e-10)
            assert (np.diff(np.abs(found.coefficients[b])) <= 0).all()
    assert {RecoveryStatus.SUPPORT_STABLE, RecoveryStatus.RESIDUAL_SMALL} <= set(found.status.tolist())


def test_what_goes_on_for_ever_is_seen():
    """A stable support stays in the definition too; a cycle of several ends where the limit of iterations ends it."""
    w = dense_gaussian_dictionary(10, 40, seed=1)
    h = noise(60, 10)
    found = cosamp(w, h, 4, max_iterations=77)
    for b in range(60):
        code, _ = oracles.cosamp(w.to_dense(), h[b], 4, int(found.iterations[b]), 1e-13)
        np.testing.assert_allclose(found.to_dense()[b], code, atol=1e-8)
        if found.status[b] == RecoveryStatus.SUPPORT_STABLE:
            for more in range(1, 5):
                later, _ = oracles.cosamp(w.to_dense(), h[b], 4, int(found.iterations[b]) + more, 1e-13)
                np.testing.assert_array_equal(later != 0, code != 0)
        else:
            assert found.iterations[b] == 77
    counts = np.bincount(found.status)
    assert counts[RecoveryStatus.SUPPORT_STABLE] > 0
    assert counts[RecoveryStatus.ITERATION_LIMIT] > 0


def test_one_iteration_on_orthogonal_columns():
    w = DenseDictionary(np.linalg.qr(noise(20, 20))[0])
    x = codes(20, 4, 10)
    found = cosamp(w, w.matvec(x), 4)
    assert found.iterations.tolist() == [1] * 10
    np.testing.assert_allclose(found.to_dense(), x, atol=1e-12)


def test_recovers_easy_codes():
    w = gaussian_dictionary(uniform_mask(128, 256, 7, seed=0), seed=0)
    x = codes(256, 8, 40)
    found = cosamp(w, w.matvec(x), 8)
    assert (found.status == RecoveryStatus.RESIDUAL_SMALL).all()
    np.testing.assert_allclose(found.to_dense(), x, atol=1e-12)


def test_dependent_columns_and_more_atoms_than_rows():
    """Every column twice and 3k > m: the least squares leaves out what is dependent, and nothing is NaN."""
    half = dense_gaussian_dictionary(8, 10, seed=0).columns
    w = DenseDictionary(np.concatenate([half, half]))
    h = noise(20, 8)
    found = cosamp(w, h, 4)
    assert np.isfinite(found.coefficients).all()
    for b in range(20):
        atoms = found.indices[b, : found.steps[b]]
        assert len({int(j) % 10 for j in atoms}) == len(atoms)  # never a column and its copy
    exact = cosamp(w, 2.0 * half[3], 1)
    assert exact.indices.tolist() == [[3]]
    np.testing.assert_allclose(exact.coefficients, [[2.0]])


def test_stops():
    w = DenseDictionary(np.eye(4)[:2])
    none = cosamp(w, np.array([0.0, 0.0, 1.0, 0.0]), 1)
    assert none.status.tolist() == [RecoveryStatus.NO_CORRELATION]
    assert (none.steps.tolist(), none.iterations.tolist()) == ([0], [0])
    part = cosamp(w, np.array([2.0, 0.0, 1.0, 0.0]), 1)
    assert part.status.tolist() == [RecoveryStatus.SUPPORT_STABLE]
    assert part.to_dense().tolist() == [[2.0, 0.0]]
    short = cosamp(dense_gaussian_dictionary(48, 90, seed=1), noise(10, 48), 5, max_iterations=1)
    assert (short.status == RecoveryStatus.ITERATION_LIMIT).all()
