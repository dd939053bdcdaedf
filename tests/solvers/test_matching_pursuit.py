import numpy as np
import pytest
from support.cases import solver_oracles as oracles
from support.cases.solver_cases import codes, generic_dictionary, noise_and_codes

from expander_theory import (
    DenseDictionary,
    RecoveryStatus,
    babel_certified_k,
    polynomial_mask,
    sign_dictionary,
)
from expander_theory.solvers.matching_pursuit import matching_pursuit


@pytest.mark.parametrize("masked", [True, False])
def test_agrees_with_the_definition(masked):
    """Noise, so that wrong atoms are chosen and chosen ones come back, and every stop is met."""
    w = generic_dictionary(masked, 40, 60)
    h = noise_and_codes(w, 3, 12, noiseless=3)
    statuses = set()
    for k, limit, tolerance in [(20, 15, 1e-3), (8, 500, 1e-3), (20, 500, 0.4)]:
        found = matching_pursuit(w, h, k, max_iterations=limit, relative_tolerance=tolerance)
        statuses.update(found.status.tolist())
        for b in range(12):
            code, steps = oracles.matching_pursuit(w.to_dense(), h[b], k, limit, tolerance)
            np.testing.assert_allclose(found.to_dense()[b], code, atol=1e-10)
            assert found.iterations[b] == steps
            assert found.residual_norms[b] == pytest.approx(np.linalg.norm(h[b] - w.to_dense() @ code))
    S = RecoveryStatus
    assert statuses == {S.ITERATION_LIMIT, S.SPARSITY_REACHED, S.RESIDUAL_SMALL}


def test_an_atom_may_be_chosen_again():
    """Two atoms at 60 degrees: the coefficients converge geometrically, two atoms all along."""
    w = DenseDictionary(np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]]))
    x = np.array([2.0, 1.5])
    found = matching_pursuit(w, w.matvec(x), 2)
    assert found.steps.tolist() == [2]
    assert found.iterations[0] > 10
    assert found.status.tolist() == [RecoveryStatus.RESIDUAL_SMALL]
    np.testing.assert_allclose(found.to_dense()[0], x, atol=1e-12)


def test_atoms_of_the_support_only_where_babel_certifies():
    """ERC < 1: every choice is in the support (Gribonval, Vandergheynst 2006), and the residual vanishes."""
    w = sign_dictionary(polynomial_mask(16, 8), seed=0)
    k = babel_certified_k(w)
    x = codes(w.n, k, 60)
    found = matching_pursuit(w, w.matvec(x), k)
    assert (found.status == RecoveryStatus.RESIDUAL_SMALL).all()
    np.testing.assert_allclose(found.to_dense(), x, atol=1e-11)


def test_an_orthogonal_remainder_stops_it():
    w = DenseDictionary(np.eye(3)[:2])
    found = matching_pursuit(w, np.array([[3.0, 0.0, 4.0], [0.0, 0.0, 1.0]]), 2)
    assert found.status.tolist() == [RecoveryStatus.NO_CORRELATION] * 2
    assert found.steps.tolist() == [1, 0]
    assert found.residual_norms.tolist() == [4.0, 1.0]
