import numpy as np
import pytest
from support.cases import solver_oracles as oracles
from support.cases.solver_cases import codes, generic_dictionary, noise, noise_and_codes

from expander_theory import (
    DenseDictionary,
    InvalidArgument,
    RecoveryStatus,
    babel,
    babel_certified_k,
    gaussian_dictionary,
    omp,
    polynomial_mask,
    sign_dictionary,
    uniform_mask,
)
from expander_theory.solvers.gomp import gomp


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("per_step", [2, 3, 8])
def test_agrees_with_the_definition(masked, per_step):
    w = generic_dictionary(masked, 48, 90)
    k = 8
    h = noise_and_codes(w, 5, 12, noiseless=4)
    found = gomp(w, h, k, atoms_per_step=per_step, relative_tolerance=1e-10)
    for b in range(12):
        code, steps, order = oracles.gomp(w.to_dense(), h[b], k, per_step, 1e-10)
        assert found.iterations[b] == steps
        atoms = found.indices[b, : found.steps[b]].tolist()
        assert atoms == order
        np.testing.assert_allclose(found.to_dense()[b], code, atol=1e-10)
        residual = h[b] - w.to_dense() @ code
        assert found.residual_norms[b] == pytest.approx(np.linalg.norm(residual), abs=1e-12)
        assert np.abs(w.to_dense()[:, atoms].T @ residual).max() < 1e-10  # least squares on the k atoms kept
    assert (found.status[4:] == RecoveryStatus.SPARSITY_REACHED).all()
    assert (found.status[:4] == RecoveryStatus.RESIDUAL_SMALL).any()


def test_one_atom_a_step_is_omp():
    w = gaussian_dictionary(uniform_mask(64, 200, 6, seed=0), seed=0)
    h = noise(20, 64)
    one, reference = gomp(w, h, 10, atoms_per_step=1), omp(w, h, 10)
    np.testing.assert_array_equal(one.indices, reference.indices)
    np.testing.assert_allclose(one.coefficients, reference.coefficients, atol=1e-10)
    np.testing.assert_array_equal(one.status, reference.status)


def test_recovers_where_babel_certifies():
    """ERC < 1: each step finds an atom of the support; mu_1(s k - 1) < 1: what is selected is independent."""
    w = sign_dictionary(polynomial_mask(16, 8), seed=0)
    k, s = babel_certified_k(w), 2
    assert k >= 3
    assert babel(w, s * k - 1)[-1] < 1
    x = codes(w.n, k, 100)
    found = gomp(w, w.matvec(x), k, atoms_per_step=s)
    np.testing.assert_array_equal(found.to_dense() != 0, x != 0)
    np.testing.assert_allclose(found.to_dense(), x, atol=1e-12)


def test_equal_columns_do_not_enter_together():
    """Columns 0 and 1 are equal: of the two picked together one is left out, and the code is right."""
    w = DenseDictionary(np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]))
    found = gomp(w, np.array([3.0, 2.0, 0.0]), 2, atoms_per_step=2)
    assert found.indices.tolist() == [[0, 2]]
    np.testing.assert_allclose(found.coefficients, [[3.0, 2.0]])
    assert found.status.tolist() == [RecoveryStatus.RESIDUAL_SMALL]


def test_refinement_makes_up_for_the_squared_condition_number():
    """Columns at an angle of 1e-5 have a Gram matrix of condition 1e10, which alone would cost six more digits."""
    angle = 1e-5
    w = DenseDictionary(np.array([[1.0, 0.0, 0.0], [np.cos(angle), np.sin(angle), 0.0], [0.6, 0.0, 0.8]]))
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.uniform(1, 2, 3)
        np.testing.assert_allclose(gomp(w, w.matvec(x), 3).to_dense()[0], x, rtol=1e-9)


def test_stops():
    w = DenseDictionary(np.eye(4)[:2])
    stuck = gomp(w, np.array([3.0, 0.0, 4.0, 0.0]), 2)
    assert stuck.status.tolist() == [RecoveryStatus.NO_CORRELATION]
    assert (stuck.steps.tolist(), stuck.iterations.tolist()) == ([1], [1])
    nearly = DenseDictionary(np.array([[1.0, 0.0], [np.cos(3e-8), np.sin(3e-8)]]))
    stuck = gomp(nearly, np.array([1.0, 1e-3]), 2, atoms_per_step=1)
    assert stuck.status.tolist() == [RecoveryStatus.DEPENDENT_ATOM]
    assert stuck.steps.tolist() == [1]


def test_atoms_per_step_is_checked():
    w = DenseDictionary(np.eye(4))
    for wrong in (0, 3, 1.5):
        with pytest.raises(InvalidArgument) as caught:
            gomp(w, np.ones(4), 2, atoms_per_step=wrong)
        assert caught.value.name == "atoms_per_step"
