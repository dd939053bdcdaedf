import numpy as np
import pytest
import scipy.optimize
from support.cases import solver_oracles as oracles
from support.cases.solver_cases import codes, generic_dictionary, noise

from expander_theory import (
    BlockDictionary,
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    RecoveryStatus,
    dense_gaussian_dictionary,
    gaussian_dictionary,
    uniform_mask,
)
from expander_theory.solvers import basis_pursuit, lasso


def weights(w, h, alpha, nonnegative):
    correlations = h @ w.to_dense()
    return alpha * (correlations if nonnegative else np.abs(correlations)).max(axis=1)


def objectives(w, h, x, weight):
    return 0.5 * np.sum((h - x @ w.to_dense().T) ** 2, axis=1) + weight * np.abs(x).sum(axis=1)


def minimiser(w, h, alpha, nonnegative=False, tolerance=1e-12):
    found = lasso(w, h, alpha=alpha, nonnegative=nonnegative, refit=False, tolerance=tolerance)
    assert (found.status == RecoveryStatus.OPTIMAL).all()
    return found.to_dense()


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_agrees_with_the_definition(masked, nonnegative):
    """The minimiser of a plain proximal gradient method, and the conditions of optimality."""
    w = generic_dictionary(masked, 24, 40)
    h = noise(4, 24)
    for alpha in (0.5, 0.05):
        weight = weights(w, h, alpha, nonnegative)
        x = minimiser(w, h, alpha, nonnegative, 1e-14)
        assert not nonnegative or x.min() >= 0
        slopes = (h - x @ w.to_dense().T) @ w.to_dense()
        assert ((slopes if nonnegative else np.abs(slopes)) <= weight[:, None] * (1 + 1e-6)).all()
        for b in range(4):
            on = x[b] != 0
            np.testing.assert_allclose(slopes[b, on], weight[b] * np.sign(x[b, on]), rtol=1e-6)
            code = oracles.lasso(w.to_dense(), h[b], weight[b], nonnegative, rounds=3000)
            np.testing.assert_allclose(x[b], code, atol=1e-5)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_scikit_learn_finds_the_same(masked, nonnegative):
    linear_model = pytest.importorskip("sklearn.linear_model")
    w = generic_dictionary(masked, 60, 120)
    h = np.concatenate([noise(3, 60), w.matvec(np.abs(codes(120, 6, 3)))])
    for alpha in (0.2, 0.02):
        weight = weights(w, h, alpha, nonnegative)
        x = minimiser(w, h, alpha, nonnegative)
        theirs = np.stack(
            [
                linear_model.Lasso(
                    alpha=weight[b] / 60, positive=nonnegative, fit_intercept=False, tol=1e-12, max_iter=200000
                )
                .fit(w.to_dense(), h[b])
                .coef_
                for b in range(6)
            ]
        )
        difference = objectives(w, h, x, weight) - objectives(w, h, theirs, weight)
        assert np.abs(difference).max() <= 1e-9 * objectives(w, h, x, weight).max()
        np.testing.assert_allclose(x, theirs, atol=1e-6)


def test_skglm_finds_the_same():
    skglm = pytest.importorskip("skglm")
    w = generic_dictionary(False, 60, 120)
    h = noise(3, 60)
    weight = weights(w, h, 0.05, False)
    x = minimiser(w, h, 0.05)
    for b in range(3):
        model = skglm.Lasso(alpha=weight[b] / 60, fit_intercept=False, tol=1e-12)
        np.testing.assert_allclose(x[b], model.fit(w.to_dense(), h[b]).coef_, atol=1e-6)


@pytest.mark.parametrize("masked", [True, False])
def test_the_gap_is_an_upper_bound(masked):
    """Solved to a tolerance, the objective exceeds the minimum by at most so much of that of x = 0."""
    w = generic_dictionary(masked, 60, 120)
    h = noise(5, 60)
    weight = weights(w, h, 0.03, False)
    least = objectives(w, h, minimiser(w, h, 0.03), weight)
    passes = []
    for tolerance in (1e-2, 1e-4, 1e-7):
        found = lasso(w, h, alpha=0.03, refit=False, tolerance=tolerance)
        excess = objectives(w, h, found.to_dense(), weight) - least
        assert (excess <= tolerance * np.sum(h**2, axis=1) / 2).all()
        assert (excess >= -1e-9).all()
        passes.append(found.iterations.sum())
    assert passes[0] < passes[1] < passes[2]


def test_the_largest_entries_are_fitted_anew():
    w = generic_dictionary(True, 60, 120)
    x = codes(120, 4, 8)
    h = w.matvec(x)
    found, plain = lasso(w, h, 4), lasso(w, h, 4, refit=False)
    np.testing.assert_allclose(found.to_dense(), x, atol=1e-10)
    np.testing.assert_array_equal(found.supports, plain.supports)
    full = minimiser(w, h, 0.01)
    for b in range(8):
        kept = np.argsort(-np.abs(full[b]), kind="stable")[:4]
        np.testing.assert_array_equal(plain.indices[b], kept)
        np.testing.assert_allclose(plain.coefficients[b], full[b, kept], atol=1e-3)
    assert (np.abs(plain.coefficients) < np.abs(x).sum(axis=1, keepdims=True)).all()


def test_all_entries_are_kept_without_k():
    w = generic_dictionary(False, 60, 120)
    h = np.concatenate([noise(2, 60), np.zeros((1, 60))])
    found = lasso(w, h, alpha=0.1, refit=False)
    assert found.steps.max() == found.indices.shape[1]
    assert found.status.tolist() == [RecoveryStatus.OPTIMAL, RecoveryStatus.OPTIMAL, RecoveryStatus.RESIDUAL_SMALL]
    np.testing.assert_allclose(found.to_dense(), lasso(w, h, 60, alpha=0.1, refit=False).to_dense())
    fitted = lasso(w, h, alpha=0.1)
    for b in range(2):
        c = np.linalg.lstsq(w.to_dense()[:, fitted.indices[b, : fitted.steps[b]]], h[b], rcond=None)[0]
        np.testing.assert_allclose(fitted.coefficients[b, : fitted.steps[b]], c, atol=1e-9)
    assert lasso(w, np.zeros((2, 60))).indices.shape == (2, 0)
    assert lasso(w, np.zeros((0, 60))).indices.shape == (0, 0)
    assert lasso(w, np.zeros((0, 60)), 3).indices.shape == (0, 3)


def test_small_alpha_tends_to_basis_pursuit():
    w = generic_dictionary(False, 12, 24)
    h = noise(3, 12)
    exact = basis_pursuit(w, h).to_dense()
    far, near = (np.abs(minimiser(w, h, alpha, tolerance=1e-10) - exact).max() for alpha in (1e-2, 1e-3))
    assert near < 0.2 * far
    assert near < 0.02


@pytest.mark.parametrize("masked", [True, False])
def test_nonnegative_codes_are_fitted_nonnegatively(masked):
    """Least squares on the atoms kept has negative coefficients for some signals: NNLS takes its place."""
    w = generic_dictionary(masked, 24, 60)
    h = w.matvec(np.abs(codes(60, 15, 40)))
    found = lasso(w, h, 15, nonnegative=True)
    assert found.coefficients.min() >= 0
    plain = lasso(w, h, 15, nonnegative=True, refit=False)
    constrained = 0
    for b in range(40):
        atoms = np.sort(plain.indices[b, : plain.steps[b]])
        matrix = w.to_dense()[:, atoms]
        constrained += np.linalg.lstsq(matrix, h[b], rcond=None)[0].min() < 0
        c, left = scipy.optimize.nnls(matrix, h[b])
        np.testing.assert_allclose(found.to_dense()[b, atoms], c, atol=1e-9)
        assert found.residual_norms[b] == pytest.approx(left)
        assert (np.diff(found.coefficients[b]) <= 0).all()
    assert constrained >= 3


def test_long_columns_are_favoured_and_scales_are_safe():
    w = generic_dictionary(True, 60, 120)
    h = noise(3, 60)
    scales = 2.0 ** np.random.default_rng(0).integers(-2, 3, 120)
    scaled = Dictionary(w.mask, w.values * scales[:, None])
    weight = weights(scaled, h, 0.1, False)
    x = minimiser(scaled, h, 0.1)
    code = oracles.lasso(scaled.to_dense(), h[0], weight[0], False, rounds=10000)
    np.testing.assert_allclose(x[0], code, atol=1e-5)
    assert scales[x[0] != 0].mean() > scales.mean()
    for columns, signals in ((1e-30, 1e30), (1e30, 1e-30), (1e-200, 1e100)):
        columns, signals = 2.0 ** round(np.log2(columns)), 2.0 ** round(np.log2(signals))
        far = minimiser(Dictionary(w.mask, w.values * columns), h * signals, 0.1)
        np.testing.assert_allclose(far * (columns / signals), minimiser(w, h, 0.1), rtol=1e-9)


def test_blocks_are_solved_as_dense_columns():
    masked = gaussian_dictionary(uniform_mask(32, 40, 5, seed=0), seed=0)
    w = BlockDictionary(dense_gaussian_dictionary(32, 8, seed=0), masked)
    h = noise(6, 32)
    found, dense = lasso(w, h, 4), lasso(DenseDictionary(w.to_dense().T), h, 4)
    np.testing.assert_array_equal(found.indices, dense.indices)
    np.testing.assert_array_equal(found.coefficients, dense.coefficients)


def test_stops():
    w = DenseDictionary(np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]]))
    found = lasso(w, np.array([[0, 0, 1.0], [0, 0, 0], [2.0, -1.0, 0]]), 2, alpha=0.25)
    expected = [RecoveryStatus.NO_CORRELATION, RecoveryStatus.RESIDUAL_SMALL, RecoveryStatus.OPTIMAL]
    assert found.status.tolist() == expected
    np.testing.assert_allclose(found.to_dense(), [[0, 0, 0], [0, 0, 0], [2.0, 0, -1.0]], atol=1e-12)
    assert found.residual_norms.tolist() == [1.0, 0.0, pytest.approx(0, abs=1e-12)]
    opposite = lasso(w, np.array([-1.0, 0, 0]), 1, nonnegative=True)
    assert opposite.status.tolist() == [RecoveryStatus.NO_CORRELATION]
    assert opposite.steps.tolist() == [0]
    short = lasso(generic_dictionary(False, 60, 120), noise(3, 60), 9, max_iterations=2)
    assert (short.status == RecoveryStatus.ITERATION_LIMIT).all()
    assert (short.iterations == 2).all()


def test_bad_options():
    w = generic_dictionary(True, 24, 40)
    for wrong in (0.0, 1.0, -0.5, np.nan, "small"):
        with pytest.raises(InvalidArgument, match="alpha"):
            lasso(w, noise(1, 24), 2, alpha=wrong)
    for wrong in (-0.1, 1.0, np.nan):
        with pytest.raises(InvalidArgument, match="tolerance"):
            lasso(w, noise(1, 24), 2, tolerance=wrong)
