import numpy as np
import pytest
from hypothesis import given, strategies as st
from support.cases import solver_oracles as oracles
from support.cases.solver_cases import codes, noise_and_codes
from support.strategies import masks

from expander_theory import (
    Dictionary,
    InvalidArgument,
    Mask,
    RecoveryStatus,
    dense_gaussian_dictionary,
    gaussian_dictionary,
    overlap_limited_mask,
    sign_dictionary,
    uniform_mask,
)
from expander_theory.solvers.ssmp import ssmp


@pytest.mark.parametrize("family", [sign_dictionary, gaussian_dictionary])
@pytest.mark.parametrize("d", [5, 6])
def test_agrees_with_the_definition(family, d):
    """Medians and weighted medians, of odd and even numbers of rows, noisy and noiseless signals."""
    w = family(uniform_mask(30, 50, d, seed=0), seed=1)
    h = noise_and_codes(w, 3, 10, noiseless=4)
    for updates, phases in [(1, 1), (6, 1), (6, 3), (16, 8)]:
        found = ssmp(w, h, 4, updates_per_phase=updates, max_iterations=phases, relative_tolerance=1e-10)
        for b in range(10):
            code, count = oracles.ssmp(w.to_dense(), h[b], 4, updates, phases, 1e-10)
            np.testing.assert_allclose(found.to_dense()[b], code, atol=1e-9)
            if found.status[b] != RecoveryStatus.SUPPORT_STABLE:  # the oracle goes on, and stays where it is
                assert found.iterations[b] == count
            assert found.residual_norms[b] == pytest.approx(np.linalg.norm(h[b] - w.to_dense() @ code), abs=1e-9)
    assert {RecoveryStatus.SUPPORT_STABLE, RecoveryStatus.RESIDUAL_SMALL} <= set(found.status.tolist())


@given(masks(max_m=7, max_n=5), st.integers(0, 2**32 - 1))
def test_one_step_is_the_best_of_all(mask, seed):
    """Small integers, zeros on the mask and duplicate columns included: many exact ties."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-2, 3, mask.rows.shape).astype(float)
    values[(values == 0).all(axis=1)] = 1.0
    w = Dictionary(mask, values)
    h = rng.integers(-3, 4, mask.m).astype(float)
    found = ssmp(w, h, 1, updates_per_phase=1, max_iterations=1)
    code, _ = oracles.ssmp(w.to_dense(), h, 1, 1, 1, 1e-13)
    np.testing.assert_allclose(found.to_dense()[0], code, atol=1e-12)


@pytest.mark.parametrize("dynamic_range", [1.0, 1e6])
def test_recovers_where_the_median_is_right(dynamic_range):
    """THEORY.md MED-1: o k < d/2. Each of the k steps adds a true coefficient, in one phase."""
    k, d = 3, 7
    w = sign_dictionary(overlap_limited_mask(120, 150, d, max_overlap=1, seed=0), seed=0)
    rng = np.random.default_rng(0)
    x = codes(150, k, 80)
    x *= dynamic_range ** rng.uniform(0, 1, x.shape)
    found = ssmp(w, w.matvec(x), k)
    np.testing.assert_array_equal(found.to_dense() != 0, x != 0)
    np.testing.assert_allclose(found.to_dense(), x, rtol=1e-9)
    assert (found.status == RecoveryStatus.RESIDUAL_SMALL).all()
    assert (found.iterations == 1).all()
    one_phase = ssmp(w, w.matvec(x), k, updates_per_phase=k, max_iterations=1)
    np.testing.assert_array_equal(one_phase.coefficients, found.coefficients)


def test_an_outlier_row_is_ignored():
    """One wrong row in a column of five: the l1 residual keeps it, the coefficient is exact."""
    w = Dictionary(Mask(6, np.array([[0, 1, 2, 3, 4], [0, 1, 2, 3, 5]])), np.ones((2, 5)))
    h = np.array([2.0, 2.0, 2.0, 2.0, 9.0, 0.0])
    found = ssmp(w, h, 1)
    assert found.to_dense().tolist() == [[2.0, 0.0]]
    assert found.residual_norms.tolist() == [7.0]
    assert found.status.tolist() == [RecoveryStatus.SUPPORT_STABLE]


def test_arguments_are_checked():
    with pytest.raises(InvalidArgument, match=r"dictionary = dense: must be masked: ssmp"):
        ssmp(dense_gaussian_dictionary(8, 9, seed=0), np.ones(8), 1)
    w = sign_dictionary(uniform_mask(8, 12, 3, seed=0), seed=0)
    with pytest.raises(InvalidArgument, match="updates_per_phase = 0"):
        ssmp(w, np.ones(8), 1, updates_per_phase=0)
