import warnings

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import orthogonal_mp
from strategies import masks

from expander_theory import (
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    Mask,
    RecoveryStatus,
    dense_gaussian_dictionary,
    gaussian_dictionary,
    omp,
    sign_dictionary,
    sparse_code,
    topk,
    uniform_mask,
)

SIZES = [(64, 256, 7, 5), (96, 300, 5, 8), (128, 512, 8, 14), (200, 400, 12, 25)]


def codes(n, k, count, seed=0, law="gaussian"):
    return np.stack([sparse_code(n, k, coefficients=law, seed=seed * 10_000 + t) for t in range(count)])


@pytest.mark.parametrize(("m", "n", "d", "k"), SIZES)
@pytest.mark.parametrize("family", [sign_dictionary, gaussian_dictionary])
def test_omp_agrees_with_scikit_learn(m, n, d, k, family):
    """4 sizes x 2 value families x 150 = 1,200 noiseless instances: supports equal, coefficients to 1e-8.

    Left out (and counted) are instances in which float64 rounding decides a near-tie, found with the
    naive oracle: there the OMP solution is not unique.
    """
    w = family(uniform_mask(m, n, d, seed=d), seed=k)
    h = w.matvec(codes(n, k, 150))
    ours = omp(w, h, k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns where it stops early
        theirs = orthogonal_mp(w.to_dense(), h.T, n_nonzero_coefs=k).T
    dense = ours.to_dense()
    unequal = [b for b in range(150) if ((dense[b] != 0) != (theirs[b] != 0)).any()]
    assert all(_has_near_tie(w.to_dense(), h[b], k) for b in unequal)
    assert len(unequal) <= 1
    same = np.setdiff1d(np.arange(150), unequal)
    np.testing.assert_allclose(dense[same], theirs[same], atol=1e-8)


def _has_near_tie(matrix, h, k):
    chosen, residual = [], h
    for _ in range(k):
        correlation = np.abs(matrix.T @ residual)
        correlation[chosen] = -1
        second, first = np.sort(correlation)[-2:]
        if first - second < 1e-10 * np.linalg.norm(h):
            return True
        chosen.append(int(np.argmax(correlation)))
        residual = h - matrix[:, chosen] @ np.linalg.lstsq(matrix[:, chosen], h, rcond=None)[0]
    return False


@pytest.mark.parametrize("family", [sign_dictionary, gaussian_dictionary, None])
@pytest.mark.parametrize(("m", "n", "d", "k"), SIZES[:3])
def test_omp_selects_as_the_naive_oracle_does(family, m, n, d, k):
    """The whole sequence of selections, noisy signals included, so that wrong atoms are chosen too."""
    w = dense_gaussian_dictionary(m, n, seed=1) if family is None else family(uniform_mask(m, n, d, seed=1), seed=2)
    rng = np.random.default_rng(0)
    h = rng.standard_normal((20, m))
    found = omp(w, h, k)
    for b in range(20):
        order, coefficients = oracles.omp(w.to_dense(), h[b], k)
        assert found.indices[b].tolist() == order
        np.testing.assert_allclose(found.coefficients[b], coefficients, atol=1e-10)
        residual = h[b] - w.to_dense()[:, order] @ coefficients
        assert found.residual_norms[b] == pytest.approx(np.linalg.norm(residual))
        assert abs(w.to_dense()[:, order].T @ residual).max() < 1e-10


def test_float32_selects_the_same():
    w = gaussian_dictionary(uniform_mask(128, 512, 7, seed=0), seed=0)
    h = w.matvec(codes(512, 6, 60))
    single, double = omp(w, h.astype(np.float32), 6), omp(w, h, 6)
    assert single.coefficients.dtype == np.float32
    np.testing.assert_array_equal(single.indices, double.indices)
    np.testing.assert_allclose(single.coefficients, double.coefficients, atol=1e-4)


def test_ties_go_to_the_lowest_index():
    """Two equal columns and one signal on them: the first is chosen."""
    mask = Mask(3, np.array([[0, 1], [0, 1], [1, 2]]))
    w = Dictionary(mask, np.full((3, 2), np.sqrt(0.5)))
    assert omp(w, np.array([1.0, 1.0, 0.0]), 1).indices.tolist() == [[0]]
    assert topk(w, np.array([1.0, 1.0, 0.0]), 2).indices.tolist() == [[0, 1]]
    assert topk(w, np.zeros(3), 2).indices.tolist() == [[0, 1]]


def test_stop_reasons():
    w = sign_dictionary(uniform_mask(32, 40, 4, seed=0), seed=0)
    one = np.zeros(40)
    one[3] = 2.0
    found = omp(w, w.matvec(one), 5)
    assert found.status.tolist() == [RecoveryStatus.RESIDUAL_SMALL]
    assert found.steps.tolist() == [1]
    assert found.indices[0].tolist() == [3, -1, -1, -1, -1]
    assert found.supports[0].tolist() == [-1, -1, -1, -1, 3]
    np.testing.assert_allclose(found.to_dense()[0], one, atol=1e-12)
    assert omp(w, np.zeros(32), 3).steps.tolist() == [0]
    assert omp(w, np.ones(32), 2).status.tolist() == [RecoveryStatus.SPARSITY_REACHED]

    duplicates = Dictionary(Mask(3, np.array([[0], [0], [0]])), np.ones((3, 1)))
    stuck = omp(duplicates, np.array([1.0, 1.0, 0.0]), 2)
    assert stuck.status.tolist() == [RecoveryStatus.NO_CORRELATION]
    assert stuck.steps.tolist() == [1]

    nearly = DenseDictionary(np.array([[1.0, 0.0], [np.cos(1e-9), np.sin(1e-9)]]))
    stuck = omp(nearly, np.array([1.0, 1e-3]), 2)
    assert stuck.status.tolist() == [RecoveryStatus.DEPENDENT_ATOM]
    assert stuck.steps.tolist() == [1]
    assert all(status.explanation for status in RecoveryStatus)


def test_relative_tolerance_stops_early():
    w = gaussian_dictionary(uniform_mask(64, 128, 6, seed=0), seed=0)
    h = np.random.default_rng(0).standard_normal((10, 64))
    loose = omp(w, h, 40, relative_tolerance=0.5)
    norms = np.linalg.norm(h, axis=1)
    assert (loose.residual_norms <= 0.5 * norms).all()
    assert (loose.steps < 40).all()
    fewer = omp(w, h, int(loose.steps.max()) - 1, relative_tolerance=0.5)
    assert (fewer.residual_norms > 0.5 * norms).any()


@given(masks(max_m=8, max_n=8), st.integers(0, 5), st.booleans(), st.data())
def test_topk_is_the_k_largest_correlations(mask, seed, signed, data):
    w = gaussian_dictionary(mask, seed=seed)
    k = data.draw(st.integers(1, min(mask.m, mask.n)))
    h = np.random.default_rng(seed).standard_normal((3, mask.m))
    found = topk(w, h, k, signed=signed)
    scores = h @ w.to_dense()
    for b in range(3):
        key = scores[b] if signed else np.abs(scores[b])
        values = np.sort(key)[::-1][:k]
        np.testing.assert_allclose(key[found.indices[b]], values, atol=1e-12)
        np.testing.assert_allclose(found.coefficients[b], scores[b][found.indices[b]], atol=1e-12)
        assert len(set(found.indices[b].tolist())) == k


@pytest.mark.parametrize("solver", [omp, topk])
@pytest.mark.parametrize("exponent", [-1000, -600, 600, 1000])
def test_scale_does_not_matter(solver, exponent):
    """Signals whose squares overflow or vanish: the same code times the same power of two."""
    w = gaussian_dictionary(uniform_mask(40, 80, 5, seed=0), seed=0)
    h = w.matvec(codes(80, 4, 10))
    plain, scaled = solver(w, h, 4), solver(w, np.ldexp(h, exponent), 4)
    np.testing.assert_array_equal(plain.indices, scaled.indices)
    np.testing.assert_array_equal(np.ldexp(plain.coefficients, exponent), scaled.coefficients)
    np.testing.assert_array_equal(plain.status, scaled.status)


def test_omp_recovers_what_babel_certifies():
    """OMP-3 on a mask with certified k = 3: every code tried is recovered, whatever its dynamic range."""
    from expander_theory import babel_certified_k, polynomial_mask

    w = sign_dictionary(polynomial_mask(16, 8), seed=0)
    k = babel_certified_k(w)
    assert k >= 3
    x = codes(w.n, k, 200) * 10.0 ** np.random.default_rng(0).uniform(-3, 3, (200, w.n))
    found = omp(w, w.matvec(x), k)
    np.testing.assert_array_equal(found.to_dense() != 0, x != 0)


W = sign_dictionary(uniform_mask(8, 12, 3, seed=0), seed=0)


@pytest.mark.parametrize("solver", [omp, topk])
@pytest.mark.parametrize(
    ("signals", "k", "name"),
    [
        (np.ones(8), 9, "k"),
        (np.ones(8), 0, "k"),
        (np.ones(8), 1.5, "k"),
        (np.ones(7), 1, "signals"),
        (np.ones((2, 2, 8)), 1, "signals"),
        (np.ones(8, int), 1, "signals"),
        (np.array(["a"] * 8), 1, "signals"),
        (np.array([1.0] * 7 + [np.nan]), 1, "signals"),
        (np.array([1.0] * 7 + [-np.inf]), 1, "signals"),
    ],
)
def test_bad_arguments_are_named(solver, signals, k, name):
    with pytest.raises(InvalidArgument) as caught:
        solver(W, signals, k)
    assert caught.value.name == name


def test_non_unit_columns_are_refused():
    """THEORY.md H.7: with unequal norms OMP can fail at k = 1."""
    scaled = Dictionary(W.mask, 1.01 * W.values)
    with pytest.raises(InvalidArgument, match="normalised"):
        omp(scaled, np.ones(8), 1)
    with pytest.raises(InvalidArgument, match="relative_tolerance"):
        omp(W, np.ones(8), 1, relative_tolerance=-1)
