from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from support.cases.solver_cases import codes, noise
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
    sparse_code,
    uniform_mask,
)
from expander_theory.solvers.l0_decoding import l0_decoding
from expander_theory.theorems._statements.decoders import activation, agreement_decode, is_peelable


@given(masks(max_m=8, max_n=8), st.sampled_from(["agreement", "decrease"]), st.booleans(), st.data())
def test_agrees_with_the_exact_decoder(mask, test, parallel, data):
    """Small integers and quarters, exact in floating point; wrong updates, cycles and codes of any size included."""
    a = data.draw(st.integers(1, min(3, mask.d)))
    entries = st.sampled_from([-3, -2, -1, 1, 2, 3])
    values = [data.draw(st.lists(entries, min_size=mask.d, max_size=mask.d)) for _ in range(mask.n)]
    if data.draw(st.booleans()):
        values = [[1] * mask.d] * mask.n
    code = [Fraction(data.draw(st.integers(-40, 40)), 4) for _ in range(mask.n)]
    size = data.draw(st.integers(0, mask.n))
    code[size:] = [Fraction(0)] * (mask.n - size)
    h = activation(mask, values, code)
    exact = agreement_decode(mask, values, h, a, parallel=parallel, test=test)
    w = Dictionary(mask, np.array(values, float))
    k = min(mask.m, mask.n)
    found = l0_decoding(
        w, np.array([float(v) for v in h]), k, agreement=a, parallel=parallel, test=test, max_iterations=mask.n
    )
    assert found.iterations.tolist() == [exact.rounds]
    expected = np.array([float(v) for v in exact.code])
    expected[np.argsort(-np.abs(expected), kind="stable")[k:]] = 0
    np.testing.assert_allclose(found.to_dense()[0], expected, rtol=1e-9, atol=1e-12)
    size = sum(v != 0 for v in exact.code)
    if size <= k:
        assert (found.status[0] == RecoveryStatus.RESIDUAL_SMALL) == exact.solved
    elif not exact.solved:
        assert found.status[0] == RecoveryStatus.SPARSITY_REACHED


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("test", ["agreement", "decrease"])
def test_generic_codes_are_recovered_iff_2_peelable(parallel, test):
    """THEORY.md L0-1, at loads on both sides of the threshold; on what is not peelable no wrong value is added."""
    mask = uniform_mask(60, 120, 5, seed=0)
    w = gaussian_dictionary(mask, seed=0)
    outcomes = set()
    for seed in range(60):
        x = sparse_code(120, 14 + seed % 20, seed=seed)
        support = np.nonzero(x)[0].tolist()
        peelable = is_peelable(mask, support, 2)
        found = l0_decoding(w, w.matvec(x), len(support), parallel=parallel, test=test)
        assert (found.status[0] == RecoveryStatus.RESIDUAL_SMALL) == peelable
        atoms = found.indices[0, : found.steps[0]]
        np.testing.assert_allclose(found.coefficients[0, : found.steps[0]], x[atoms], rtol=1e-9)
        if not peelable:
            assert found.status[0] == RecoveryStatus.NO_UPDATE
            assert found.steps[0] < len(support)
        outcomes.add(peelable)
    assert outcomes == {True, False}


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("test", ["agreement", "decrease"])
def test_one_positive_value_with_agreement_of_overlap_plus_one(parallel, test):
    """THEORY.md L0-2 with o = 1, k = 3: a set of 3 columns loses at most 3 of 21 rows, (1 - 2/7) 7 = 5 > o."""
    mask = overlap_limited_mask(120, 150, 7, max_overlap=1, seed=0)
    w = Dictionary(mask, np.full(mask.rows.shape, 0.5))
    x = codes(150, 3, 50)
    found = l0_decoding(w, w.matvec(x), 3, agreement=2, parallel=parallel, test=test)
    assert (found.status == RecoveryStatus.RESIDUAL_SMALL).all()
    np.testing.assert_allclose(found.to_dense(), x, rtol=1e-12)
    assert (found.iterations <= 3).all()


def test_the_decrease_test_copes_with_equal_moduli():
    """Columns that share two rows mislead the agreement of two; the net number of nonzeros does not fall there."""
    mask = Mask(8, np.array([[0, 1, 5, 6, 7], [0, 1, 2, 3, 4]]))
    w = Dictionary(mask, np.ones((2, 5)))
    h = w.matvec(np.array([0.0, 3.0]))
    assert l0_decoding(w, h, 1).to_dense().tolist() == [[0.0, 3.0]]
    misled = l0_decoding(w, h, 1, test="agreement", max_iterations=1)
    assert misled.status.tolist() == [RecoveryStatus.SPARSITY_REACHED]
    big = sign_dictionary(uniform_mask(256, 1024, 7, seed=0), seed=0)
    x = codes(1024, 40, 10)
    np.testing.assert_allclose(l0_decoding(big, big.matvec(x), 40).to_dense(), x, atol=1e-9)


def test_small_coefficients_survive_large_ones():
    """Error scales are kept by row: coefficients from 1 to 1e-10 in one signal come back to a few digits."""
    w = gaussian_dictionary(uniform_mask(200, 400, 7, seed=0), seed=0)
    x = np.stack([sparse_code(400, 8, coefficients="signs", seed=t) for t in range(20)])
    x *= 10.0 ** np.random.default_rng(0).uniform(-10, 0, x.shape)
    found = l0_decoding(w, w.matvec(x), 8)
    np.testing.assert_array_equal(found.to_dense() != 0, x != 0)
    np.testing.assert_allclose(found.to_dense(), x, rtol=1e-3)


def test_rounding_errors_do_not_vote():
    """Columns 0, 1 and 2 nearly cancel in rows 0 and 1, where column 3 then sees two equal rounding errors."""
    mask = Mask(14, np.array([[0, 1, 2, 3, 4], [0, 1, 5, 6, 7], [0, 1, 8, 9, 10], [0, 1, 11, 12, 13]]))
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.uniform(0.5, 2, (4, 5))
        values[:, 1] = values[:, 0]
        w = Dictionary(mask, values)
        x = np.array([rng.uniform(1, 2), rng.uniform(1, 2), 0.0, 0.0])
        x[2] = -(values[:2, 0] @ x[:2]) / values[2, 0] * (1 + 1e-9)
        found = l0_decoding(w, w.matvec(x), 4, test="agreement", parallel=False)
        assert found.supports.tolist() == [[-1, 0, 1, 2]]
        assert found.iterations.tolist() == [1]


def test_updates_that_are_undone_leave_nothing():
    """Equal moduli and an agreement of one: wrong values come, go, and leave no rounding error in a code found."""
    w = sign_dictionary(uniform_mask(128, 512, 6, seed=0), seed=0)
    x = codes(512, 16, 40)
    found = l0_decoding(w, w.matvec(x), 16, agreement=1, max_iterations=50)
    right = np.abs(found.to_dense() - x).max(axis=1) < 1e-8
    assert right.sum() > 10
    assert (found.status[right] == RecoveryStatus.RESIDUAL_SMALL).all()
    np.testing.assert_array_equal(found.to_dense()[right] != 0, x[right] != 0)


def test_more_coefficients_than_k_are_cut():
    w = Dictionary(Mask(6, np.array([[0, 1], [2, 3], [4, 5]])), np.ones((3, 2)))
    found = l0_decoding(w, w.matvec(np.array([1.0, -3.0, 2.0])), 2)
    assert found.to_dense().tolist() == [[0.0, -3.0, 2.0]]
    assert found.status.tolist() == [RecoveryStatus.SPARSITY_REACHED]
    assert found.residual_norms[0] == pytest.approx(np.sqrt(2))


def test_noise_stops_it():
    w = gaussian_dictionary(uniform_mask(64, 128, 6, seed=0), seed=0)
    found = l0_decoding(w, noise(5, 64), 4)
    assert (found.status == RecoveryStatus.NO_UPDATE).all()
    assert (found.steps == 0).all()
    loose = l0_decoding(w, w.matvec(sparse_code(128, 4, seed=0)) * (1 + 1e-6), 4, equality_tolerance=1e-4)
    assert loose.status.tolist() == [RecoveryStatus.RESIDUAL_SMALL]


def test_arguments_are_checked():
    with pytest.raises(InvalidArgument, match=r"dictionary = dense: must be masked: l0_decoding"):
        l0_decoding(dense_gaussian_dictionary(8, 9, seed=0), np.ones(8), 1)
    w = sign_dictionary(uniform_mask(8, 12, 3, seed=0), seed=0)
    with pytest.raises(InvalidArgument, match=r"agreement = 4: must be at most d = 3"):
        l0_decoding(w, np.ones(8), 1, agreement=4)
    with pytest.raises(InvalidArgument, match="equality_tolerance = 1"):
        l0_decoding(w, np.ones(8), 1, equality_tolerance=1.0)
    with pytest.raises(InvalidArgument, match="test = 'votes'"):
        l0_decoding(w, np.ones(8), 1, test="votes")
