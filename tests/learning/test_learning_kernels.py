"""The loops of dictionary learning against plain NumPy, from their definitions."""

import numpy as np
import pytest

from expander_theory import omp, uniform_mask
from expander_theory._kernels.learning import columns, supports
from expander_theory.dictionaries import gaussian_dictionary

M, N, D, K, B = 15, 24, 4, 3, 50
RNG = np.random.default_rng(0)
H = RNG.standard_normal((B, M))
DENSE = RNG.standard_normal((2, M))
DENSE /= np.linalg.norm(DENSE, axis=1, keepdims=True)


def problem(dtype=np.float64):
    """A masked dictionary, codes of H, and the residual."""
    w = gaussian_dictionary(uniform_mask(M, N, D, seed=0), seed=0).normalised().astype(dtype)
    found = omp(w, H.astype(dtype), K)
    entries = columns.by_atom(found.indices, found.coefficients, N)
    residual = H.astype(dtype)
    rows, values = w.mask.rows.copy(), w.values.copy()
    columns.subtract(rows, values, 0, entries, residual)
    return rows, values, found.to_dense(), entries, residual


def spread(rows, values):
    dense = np.zeros((len(rows), M), values.dtype)
    np.put_along_axis(dense, rows.astype(int), values, axis=1)
    return dense


def test_codes_by_atom():
    indices = np.array([[2, 0, -1], [0, 3, 2], [-1, -1, -1]], np.int32)
    entries = columns.by_atom(indices, np.array([[1.0, 2, 0], [3, 4, 5], [0, 0, 0]]), 5)
    assert entries.starts.tolist() == [0, 2, 2, 4, 5, 5]
    assert entries.signals.tolist() == [0, 1, 0, 1, 1]
    assert entries.coefficients.tolist() == [2, 3, 1, 5, 4]


def test_residual():
    rows, values, codes, _, residual = problem()
    np.testing.assert_allclose(residual, H - codes @ spread(rows, values), atol=1e-13)


@pytest.mark.parametrize(("dtype", "close"), [(np.float64, 1e-12), (np.float32, 1e-4)])
@pytest.mark.parametrize("kept", [0.0, 0.7])
def test_one_step_of_every_column(dtype, close, kept):
    rows, values, codes, entries, residual = problem(dtype)
    curvature = np.linspace(0, 3, N)
    expected, dense, past = H - codes @ spread(rows, values), spread(rows, values).astype(np.float64), curvature.copy()
    for j in range(N):
        x = codes[:, j].astype(np.float64)
        past[j] = kept * past[j] + x @ x
        if not x.any():
            continue
        column = dense[j].copy()
        column[rows[j]] += (expected.T @ x)[rows[j]] / past[j]
        column /= np.linalg.norm(column)
        expected -= np.outer(x, column - dense[j])
        dense[j] = column
    columns.update(rows, values, 0, entries, residual, curvature, kept)
    np.testing.assert_allclose(spread(rows, values), dense, atol=close)
    np.testing.assert_allclose(residual, expected, atol=10 * close)
    np.testing.assert_allclose(curvature, past, rtol=1e-5)


def test_dense_columns_count_from_their_own_place():
    """Columns 3 and 4 of a dictionary, with all rows: codes of the others leave them alone."""
    every = np.tile(np.arange(M, dtype=np.int32), (2, 1))
    indices = np.full((B, 2), 4, np.int32)
    indices[:, 1] = 0
    coefficients = np.ones((B, 2))
    entries, values, residual = columns.by_atom(indices, coefficients, 6), DENSE.copy(), H.copy()
    columns.update(every, values, 3, entries, residual, np.zeros(6), 0.0)
    np.testing.assert_array_equal(values[0], DENSE[0])
    column = DENSE[1] + H.sum(axis=0) / B
    np.testing.assert_allclose(values[1], column / np.linalg.norm(column), atol=1e-13)


@pytest.mark.parametrize("most", [1, 2, D])
def test_exchanges(most):
    rows, values, codes, entries, residual = problem()
    dense, expected, total = spread(rows, values), residual.copy(), 0
    masks = [set(own.tolist()) for own in rows]
    for j in range(N):
        x = codes[:, j]
        if np.count_nonzero(x) < 4:
            continue
        gradient = expected.T @ x / (x @ x)
        old, own = dense[j].copy(), sorted(masks[j])
        leaving = sorted(own, key=lambda i: abs(old[i] + gradient[i]))
        coming = sorted(set(range(M)) - masks[j], key=lambda i: -abs(gradient[i]))
        for out, into in list(zip(leaving, coming, strict=False))[:most]:
            if abs(gradient[into]) <= abs(old[out] + gradient[out]):
                break
            dense[j, out], dense[j, into] = 0, gradient[into]
            masks[j] = masks[j] - {out} | {into}
            total += 1
        expected -= np.outer(x, dense[j] - old)
        dense[j] /= np.linalg.norm(dense[j])
    before = np.square(residual).sum()
    assert supports.exchange(rows, values, 0, entries, residual, most, 4) == total > N // 2
    assert [set(own.tolist()) for own in rows] == masks
    assert (np.diff(rows, axis=1) > 0).all()
    np.testing.assert_allclose(spread(rows, values), dense, atol=1e-12)
    np.testing.assert_allclose(residual, expected, atol=1e-12)
    assert np.square(residual).sum() < before


def test_all_exchanges_are_the_best_column_of_d_rows():
    """With as many exchanges as rows, the support is that of the d largest entries of the least-squares column."""
    rows, values, codes, _, residual = problem()
    j = int(np.argmax(np.count_nonzero(codes, axis=0)))
    x = codes[:, j]
    best = spread(rows, values)[j] + residual.T @ x / (x @ x)
    only = columns.by_atom(np.where(x != 0, 0, -1).astype(np.int32)[:, None], x[:, None].copy(), 1)
    own, own_values = rows[j : j + 1].copy(), values[j : j + 1].copy()
    supports.exchange(own, own_values, 0, only, residual, D, 1)
    assert own[0].tolist() == np.sort(np.argsort(-np.abs(best))[:D]).tolist()


@pytest.mark.parametrize("column", [[3.0, 4.0], [1e-300, 0.0], [3e200, 4e200]])
def test_unit_norm(column):
    given = np.array(column)
    assert columns.to_unit_norm(given)
    assert np.linalg.norm(given) == pytest.approx(1)
    for bad in ([0.0, 0.0], [np.inf, 1.0]):
        assert not columns.to_unit_norm(np.array(bad))
