import numpy as np
import pytest
from support.cases import solver_oracles as oracles
from support.cases.solver_cases import codes, generic_dictionary, noise

from expander_theory import (
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    Mask,
    RecoveryStatus,
    babel_certified_k,
    gaussian_dictionary,
    polynomial_mask,
    sign_dictionary,
    sparse_code,
    uniform_mask,
)
from expander_theory.solvers.basis_pursuit import basis_pursuit


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_the_least_norm_of_all_bases(masked, nonnegative):
    w = generic_dictionary(masked, 4, 8, d=3)
    h = noise(20, 4)
    found = basis_pursuit(w, h, nonnegative=nonnegative)
    for b in range(20):
        best = oracles.least_l1(w.to_dense(), h[b], nonnegative)
        x = found.to_dense()[b]
        if np.isinf(best):
            assert found.status[b] == RecoveryStatus.FAILED
            assert not x.any()
            assert found.residual_norms[b] == pytest.approx(np.linalg.norm(h[b]))
        else:
            assert found.status[b] == RecoveryStatus.OPTIMAL
            assert np.abs(x).sum() == pytest.approx(best, rel=1e-9)
            np.testing.assert_allclose(w.to_dense() @ x, h[b], atol=1e-9)
            assert not nonnegative or x.min() >= 0
    if nonnegative:
        assert {RecoveryStatus.FAILED, RecoveryStatus.OPTIMAL} == set(found.status.tolist())


def test_recovers_where_babel_certifies():
    """ERC < 1 on every k-set: basis pursuit recovers every k-sparse code (Tropp 2004)."""
    w = sign_dictionary(polynomial_mask(8, 4), seed=0)
    k = babel_certified_k(w)
    assert k >= 1
    x = codes(w.n, k, 15)
    found = basis_pursuit(w, w.matvec(x), k)
    np.testing.assert_array_equal(found.to_dense() != 0, x != 0)
    np.testing.assert_allclose(found.to_dense(), x, atol=1e-9)


def test_a_nonnegative_code_is_found_where_its_sign_is_known():
    """x = (0, 1, 1) is the only nonnegative solution; with signs (-1, 0, 0) has a smaller norm."""
    w = DenseDictionary(np.array([[-1.0, -1.0], [1.0, 0.0], [0.0, 1.0]]))
    h = np.array([1.0, 1.0])
    assert basis_pursuit(w, h, 2).to_dense().tolist() == [[-1.0, 0.0, 0.0]]
    assert basis_pursuit(w, -h, 2, nonnegative=True).to_dense().tolist() == [[1.0, 0.0, 0.0]]
    assert basis_pursuit(w, h, 2, nonnegative=True).to_dense().tolist() == [[0.0, 1.0, 1.0]]


def test_k_keeps_the_largest_and_none_keeps_all():
    w = Dictionary(Mask(3, np.array([[0], [1], [2]])), np.array([[1.0], [2.0], [4.0]]))
    h = np.array([[3.0, 8.0, 4.0], [1e-9, 1.0, 0.0], [0.0, 0.0, 0.0]])
    everything = basis_pursuit(w, h)
    assert everything.to_dense().tolist() == [[3.0, 4.0, 1.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]
    assert everything.steps.tolist() == [3, 1, 0]
    assert everything.indices[0].tolist() == [1, 0, 2]
    two = basis_pursuit(w, h, 2)
    assert two.to_dense().tolist() == [[3.0, 4.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]
    assert two.residual_norms.tolist() == [4.0, 1e-9, 0.0]
    assert (two.status == RecoveryStatus.OPTIMAL).all()
    assert basis_pursuit(w, h[1], zero_tolerance=1e-12).steps.tolist() == [2]
    assert basis_pursuit(w, np.zeros((2, 3))).indices.shape == (2, 0)


def test_outside_the_range_it_fails_and_says_so():
    w = Dictionary(Mask(3, np.array([[0, 1]])), np.ones((1, 2)))
    found = basis_pursuit(w, np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1e-3], [1.0, 2.0, 0.0]]), 1)
    assert found.status.tolist() == [RecoveryStatus.OPTIMAL, RecoveryStatus.FAILED, RecoveryStatus.FAILED]
    assert found.to_dense().tolist() == [[1.0], [0.0], [0.0]]
    assert found.steps.tolist() == [1, 0, 0]
    assert "code is zero" in RecoveryStatus(found.status[1]).explanation


def test_scales_of_columns():
    """Values of any common scale are fine; entries that HiGHS drops next to much larger ones make a plain failure."""
    w = gaussian_dictionary(uniform_mask(20, 40, 4, seed=0), seed=0)
    x = sparse_code(40, 2, seed=0)
    for scale in (1e-200, 1e-30, 1e30):
        scaled = Dictionary(w.mask, w.values * scale)
        found = basis_pursuit(scaled, w.matvec(x), 2)
        np.testing.assert_allclose(found.to_dense()[0] * scale, x, atol=1e-9)
    dropped = DenseDictionary(np.diag([1.0, 1e-11]))
    assert basis_pursuit(dropped, np.array([1.0, 1.0]), 2).status.tolist() == [RecoveryStatus.FAILED]


def test_zero_tolerance_is_checked():
    with pytest.raises(InvalidArgument, match="zero_tolerance = 2"):
        basis_pursuit(DenseDictionary(np.eye(2)), np.ones(2), zero_tolerance=2)
