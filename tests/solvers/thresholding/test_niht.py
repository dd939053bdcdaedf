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
from expander_theory.solvers.thresholding.niht import niht


@pytest.mark.parametrize("masked", [True, False])
def test_agrees_with_the_definition(masked):
    w = generic_dictionary(masked, 48, 90)
    h = noise_and_codes(w, 5, 12, noiseless=4)
    for limit in (1, 2, 7, 60):
        found = niht(w, h, 5, max_iterations=limit, relative_tolerance=1e-10)
        for b in range(12):
            stable = found.status[b] == RecoveryStatus.SUPPORT_STABLE  # beyond, rounding errors decide the step
            code, steps = oracles.niht(w.to_dense(), h[b], 5, int(found.iterations[b]) if stable else limit, 1e-10)
            np.testing.assert_allclose(found.to_dense()[b], code, atol=1e-8)
            assert found.iterations[b] == steps
            assert found.residual_norms[b] == pytest.approx(np.linalg.norm(h[b] - w.to_dense() @ code), abs=1e-9)
            assert (np.diff(np.abs(found.coefficients[b])) <= 0).all()


def test_the_line_search_is_needed_and_the_residual_falls():
    """With a bare gradient step of the same length the residual of some signal grows; with the search never."""
    w = dense_gaussian_dictionary(16, 60, seed=3)
    h = noise(30, 16)
    norms = [np.linalg.norm(h, axis=1)]
    norms += [niht(w, h, 6, max_iterations=limit).residual_norms for limit in range(1, 15)]
    assert (np.diff(norms, axis=0) <= 1e-12).all()
    matrix, grew = w.to_dense(), False
    for signal in h:
        code, support = np.zeros(60), oracles.largest(np.abs(matrix.T @ signal), 6)
        last = np.linalg.norm(signal)
        for _ in range(10):
            g = matrix.T @ (signal - matrix @ code)
            code = code + g * np.sum(g[support] ** 2) / np.sum((matrix[:, support] @ g[support]) ** 2)
            support = oracles.largest(np.abs(code), 6)
            code = oracles.code_of(60, support, code[support])
            grew |= np.linalg.norm(signal - matrix @ code) > last + 1e-9
            last = np.linalg.norm(signal - matrix @ code)
    assert grew


def test_one_iteration_on_orthogonal_columns():
    w = DenseDictionary(np.linalg.qr(noise(20, 20))[0])
    x = codes(20, 4, 10)
    found = niht(w, w.matvec(x), 4)
    assert found.iterations.tolist() == [1] * 10
    np.testing.assert_allclose(found.to_dense(), x, atol=1e-12)


def test_recovers_easy_codes():
    w = gaussian_dictionary(uniform_mask(128, 256, 7, seed=0), seed=0)
    x = codes(256, 8, 40)
    found = niht(w, w.matvec(x), 8)
    assert (found.status == RecoveryStatus.RESIDUAL_SMALL).all()
    np.testing.assert_allclose(found.to_dense(), x, atol=1e-10)


def test_a_stable_support_has_its_least_squares_coefficients():
    w = gaussian_dictionary(uniform_mask(64, 128, 6, seed=0), seed=0)
    h = noise(20, 64)
    found = niht(w, h, 4, max_iterations=5000)
    assert (found.status == RecoveryStatus.SUPPORT_STABLE).all()
    for b in range(20):
        c = np.linalg.lstsq(w.to_dense()[:, found.indices[b]], h[b], rcond=None)[0]
        np.testing.assert_allclose(found.coefficients[b], c, atol=1e-10)


def test_stops():
    w = DenseDictionary(np.eye(4)[:2])
    none = niht(w, np.array([0.0, 0.0, 1.0, 0.0]), 1)
    assert none.status.tolist() == [RecoveryStatus.NO_CORRELATION]
    assert (none.steps.tolist(), none.iterations.tolist()) == ([0], [0])
    twice = DenseDictionary(np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]]))
    found = niht(twice, np.array([2.0, 1.0, 1.0]), 3)
    assert np.isfinite(found.coefficients).all()
    assert found.status.tolist() == [RecoveryStatus.SUPPORT_STABLE]
    np.testing.assert_allclose(found.to_dense() @ twice.columns, [[2.0, 1.0, 0.0]], atol=1e-12)
