import numpy as np
import pytest
from hypothesis import given, strategies as st
from support.cases.solver_cases import generic_dictionary
from support.strategies import masks

from expander_theory import (
    DenseDictionary,
    Dictionary,
    Mask,
    RecoveryStatus,
    gaussian_dictionary,
    topk,
    uniform_mask,
)


def expected(scores, k, signed):
    """Places of the k best scores, ties to the lowest."""
    return np.argsort(-(scores if signed else np.abs(scores)), axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [300, 256])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_the_k_best_in_order(dtype, n, masked, signed):
    """More signals than fit side by side, a number of columns that is and one that is not a multiple of the tile."""
    w = generic_dictionary(masked, 64, n, d=7)
    h = np.random.default_rng(0).standard_normal((133, 64)).astype(dtype)
    scores = h.astype(np.float64) @ w.to_dense()
    for k in (1, 9, 64):
        found = topk(w, h, k, signed=signed)
        atoms = expected(scores, k, signed)
        assert found.coefficients.dtype == dtype
        error = 1e-12 if dtype == np.float64 else 1e-5
        chosen = np.take_along_axis(scores, found.indices, 1)
        best = np.take_along_axis(scores, atoms, 1)
        np.testing.assert_allclose(found.coefficients, chosen, atol=error)
        if dtype == np.float64:
            np.testing.assert_array_equal(found.indices, atoms)
        else:  # scores that are equal up to rounding may change places
            np.testing.assert_allclose(*(v if signed else np.abs(v) for v in (chosen, best)), atol=error)
        residual = np.linalg.norm(h - found.to_dense() @ w.to_dense().T, axis=1)
        np.testing.assert_allclose(found.residual_norms, residual, rtol=10 * error)
        assert (found.steps == k).all()
        assert (found.status == RecoveryStatus.SPARSITY_REACHED).all()
        assert found.iterations is None


@given(masks(max_m=6, max_n=9), st.booleans(), st.data())
def test_ties_go_to_the_lowest_index(mask, signed, data):
    """Values 1 and signals of -1, 0, 1: nearly all scores are tied, and equal to the last bit."""
    w = Dictionary(mask, np.full(mask.rows.shape, np.sqrt(1 / mask.d)))
    k = data.draw(st.integers(1, min(mask.m, mask.n)))
    h = np.array(data.draw(st.lists(st.lists(st.integers(-1, 1), min_size=mask.m, max_size=mask.m), min_size=1)), float)
    sums = np.stack([h[:, rows].sum(axis=1) for rows in mask.rows], axis=1)
    np.testing.assert_array_equal(topk(w, h, k, signed=signed).indices, expected(sums, k, signed))


def test_signed_takes_the_largest_values():
    w = DenseDictionary(np.eye(3))
    h = np.array([-5.0, 1.0, 2.0])
    assert topk(w, h, 2).indices.tolist() == [[0, 2]]
    assert topk(w, h, 2, signed=True).indices.tolist() == [[2, 1]]
    all_negative = topk(w, -np.abs(h), 1, signed=True)
    assert (all_negative.indices.tolist(), all_negative.coefficients.tolist()) == ([[1]], [[-1.0]])


def test_a_batch_gives_what_its_signals_give_alone():
    w = gaussian_dictionary(uniform_mask(32, 100, 5, seed=0), seed=0)
    h = np.random.default_rng(1).standard_normal((40, 32))
    together = topk(w, h, 6)
    for b in range(40):
        alone = topk(w, h[b], 6)
        np.testing.assert_array_equal(alone.indices[0], together.indices[b])
        np.testing.assert_array_equal(alone.coefficients[0], together.coefficients[b])


def test_every_column_may_be_kept():
    mask = Mask(3, np.array([[0, 1], [0, 2], [1, 2]]))
    w = Dictionary(mask, np.full((3, 2), np.sqrt(0.5)))
    found = topk(w, np.array([1.0, 2.0, 4.0]), 3)
    assert found.indices.tolist() == [[2, 1, 0]]
    np.testing.assert_allclose(found.coefficients, np.array([[6.0, 5.0, 3.0]]) * np.sqrt(0.5))
