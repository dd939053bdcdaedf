"""AMP against its definition, and against state evolution: where that holds (dense) and where not (sparse masks)."""

import numpy as np
import pytest
from support.cases import solver_oracles as oracles
from support.cases.solver_cases import codes, generic_dictionary, noise

from expander_theory import (
    BlockDictionary,
    DenseDictionary,
    InvalidArgument,
    RecoveryStatus,
    dense_gaussian_dictionary,
    gaussian_dictionary,
    sign_dictionary,
    uniform_mask,
)
from expander_theory.solvers import amp, minimax_threshold

M, N, K = 500, 1000, 125  # m/n = 1/2 and k/m = 1/4: inside the phase boundary of l1, which is at 0.386


def planted(count):
    """K standard normal entries at random places."""
    rng = np.random.default_rng(1)
    x = np.zeros((count, N))
    for b in range(count):
        x[b, rng.choice(N, K, replace=False)] = rng.standard_normal(K)
    return x


def state_evolution(tau, steps):
    """||x_t - x||^2 / ||x||^2 after every step, by the scalar recursion on 400,000 pairs of a coefficient and noise."""
    rng = np.random.default_rng(0)
    count = 400_000
    x, z = np.zeros(count), rng.standard_normal(count)
    x[: count * K // N] = rng.standard_normal(count * K // N)
    errors = [np.mean(x**2)]
    for _ in range(steps):
        sigma = np.sqrt(errors[-1] * N / M)
        u = x + sigma * z
        errors.append(np.mean((np.sign(u) * np.maximum(np.abs(u) - tau * sigma, 0) - x) ** 2))
    return np.array(errors[1:]) / errors[0]


def errors(w, x, steps, **options):
    """The same of AMP, averaged over the codes."""
    h = w.matvec(x)
    found = [amp(w, h, M, max_iterations=t, refit=False, **options).to_dense() for t in steps]
    return np.array([np.mean((code - x) ** 2) / np.mean(x**2) for code in found])


PREDICTED = state_evolution(minimax_threshold(M / N), 12)
STEPS = (1, 2, 4, 8, 12)


def recovered(w, x, **options):
    found = amp(w, w.matvec(x), K, **options).to_dense()
    return (np.linalg.norm(found - x, axis=1) <= 1e-3 * np.linalg.norm(x, axis=1)).mean()


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_agrees_with_the_definition(masked, nonnegative):
    w = generic_dictionary(masked, 60, 120, d=20)
    h = np.concatenate([noise(4, 60), w.matvec(np.abs(codes(120, 5, 4)))])
    tau = minimax_threshold(0.5, nonnegative=nonnegative)
    for limit, damping in ((1, 1.0), (3, 1.0), (6, 0.7)):
        options = {"nonnegative": nonnegative, "damping": damping, "max_iterations": limit, "refit": False}
        found = amp(w, h, 60, relative_tolerance=0, **options)
        for b in range(8):
            code = oracles.amp(w.to_dense(), h[b], tau, nonnegative, damping, limit)
            kept = oracles.largest(np.abs(code), 60)
            np.testing.assert_allclose(found.to_dense()[b], oracles.code_of(120, kept, code[kept]), atol=1e-9)
            np.testing.assert_array_equal(found.indices[b, : found.steps[b]], kept)
            residual = np.linalg.norm(h[b] - w.matvec(found.to_dense()[b]))
            assert found.residual_norms[b] == pytest.approx(residual, rel=1e-9)
        assert (found.iterations == limit).all()
        assert (found.status == RecoveryStatus.ITERATION_LIMIT).all()


def test_the_minimax_threshold_maximises_the_sparsity():
    """The boundary of Donoho, Maleki and Montanari: rho(1/2) = 0.3855 for signed codes, 0.5581 for nonnegative ones."""
    from scipy.stats import norm

    def sparsity(z, delta, sides):
        tail = sides * ((1 + z**2) * norm.cdf(-z) - z * norm.pdf(z))
        return (1 - tail / delta) / (1 + z**2 - tail)

    grid = np.linspace(0.001, 5, 50_000)
    for sides, nonnegative, known in ((2, False, 0.3855), (1, True, 0.5581)):
        for delta in (0.1, 0.5, 0.9):
            tau = minimax_threshold(delta, nonnegative=nonnegative)
            assert sparsity(tau, delta, sides) == pytest.approx(sparsity(grid, delta, sides).max(), rel=1e-7)
        best = sparsity(minimax_threshold(0.5, nonnegative=nonnegative), 0.5, sides)
        assert best == pytest.approx(known, abs=2e-3)
    assert minimax_threshold(2.0) == minimax_threshold(0.95) > 0.1


def test_state_evolution_predicts_the_error_on_a_gaussian_dictionary():
    """Within a few per cent, step by step, and the codes are recovered."""
    w = dense_gaussian_dictionary(M, N, seed=0)
    x = planted(20)
    np.testing.assert_allclose(errors(w, x, STEPS), PREDICTED[[t - 1 for t in STEPS]], rtol=0.05)
    assert recovered(w, x, relative_tolerance=1e-4) == 1


@pytest.mark.parametrize("make", [sign_dictionary, gaussian_dictionary])
def test_it_fails_on_a_mask_of_4_rows_a_column(make):
    """Same sizes, same codes: the iteration diverges where state evolution says that it converges.

    Damping stops that, but the error does not follow the prediction either. With signs it then recovers nearly all
    codes, so that they could be found; with Gaussian values none.
    """
    w = make(uniform_mask(M, N, 4, seed=0), seed=0)
    x = planted(20)
    found = errors(w, x, STEPS)
    assert found[2] > 3 * PREDICTED[3]
    assert found[-1] > 1e4
    failed = amp(w, w.matvec(x), K)
    assert (failed.status == RecoveryStatus.FAILED).all()
    assert not failed.to_dense().any()
    np.testing.assert_allclose(failed.residual_norms, np.linalg.norm(w.matvec(x), axis=1))
    damped = errors(w, x, STEPS, damping=0.5)
    assert damped.max() < 1
    assert damped[-1] > 5 * PREDICTED[-1]
    rate = recovered(w, x, damping=0.5)
    assert rate >= 0.9 if make is sign_dictionary else rate <= 0.1


def test_it_comes_near_the_prediction_as_masks_fill():
    """At 64 of 500 rows a column the error is within a tenth of that of Gaussian columns, at 8 far from it."""
    x = planted(10)
    thick, thin = (errors(sign_dictionary(uniform_mask(M, N, d, seed=0), seed=0), x, (8,))[0] for d in (64, 8))
    assert thick == pytest.approx(PREDICTED[7], rel=0.1)
    assert thin > 10 * PREDICTED[7]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_stay_finite_where_it_diverges(dtype):
    """For any number of steps and any scale of the signals."""
    w = gaussian_dictionary(uniform_mask(60, 120, 2, seed=0), seed=0)
    for scale in (1e30, 1.0, 1e-30):
        h = (scale * noise(6, 60)).astype(dtype)
        found = amp(w, h, 10)
        assert np.isfinite(found.coefficients).all()
        assert (found.residual_norms <= np.linalg.norm(h.astype(float), axis=1) * (1 + 1e-5)).all()
        failed = found.status == RecoveryStatus.FAILED
        assert failed.any()
        assert not found.to_dense()[failed].any()


def test_without_noise_inside_the_boundary():
    """Nonnegative codes are found where signed ones are too dense: knowing the sign helps."""
    w = dense_gaussian_dictionary(300, 600, seed=0)
    x = np.abs(codes(600, 138, 5))
    for nonnegative, rate in ((True, 1), (False, 0)):
        found = amp(w, w.matvec(x), 138, nonnegative=nonnegative).to_dense()
        assert (np.abs(found - x).max(axis=1) < 1e-6).mean() == rate


def test_statuses_are_those_of_the_code_returned():
    w = dense_gaussian_dictionary(60, 120, seed=1)
    x = codes(120, 5, 4)
    exact = amp(w, w.matvec(x), 5)
    assert (exact.status == RecoveryStatus.RESIDUAL_SMALL).all()
    np.testing.assert_allclose(exact.to_dense(), x, atol=1e-10)
    cut = amp(w, w.matvec(x), 4)
    assert (cut.status == RecoveryStatus.SPARSITY_REACHED).all()
    noisy = amp(w, w.matvec(x) + 0.1 * noise(4, 60), 5, damping=0.7)
    assert set(noisy.status.tolist()) <= {RecoveryStatus.SUPPORT_STABLE, RecoveryStatus.ITERATION_LIMIT}
    two = DenseDictionary(np.eye(3)[:2])
    found = amp(two, np.array([[0, 0, 1.0], [0, 0, 0], [-1.0, -2.0, 0]]), 1, nonnegative=True)
    expected = [RecoveryStatus.NO_CORRELATION, RecoveryStatus.RESIDUAL_SMALL, RecoveryStatus.NO_CORRELATION]
    assert found.status.tolist() == expected
    assert not found.to_dense().any()


def test_nonnegative_codes_are_fitted_nonnegatively():
    found = amp(generic_dictionary(True, 24, 60, d=12), noise(20, 24), 15, nonnegative=True)
    assert (found.steps > 0).any()
    assert found.coefficients.min() >= 0


def test_blocks_and_empty_batches():
    masked = gaussian_dictionary(uniform_mask(32, 40, 16, seed=0), seed=0)
    w = BlockDictionary(dense_gaussian_dictionary(32, 8, seed=0), masked)
    h = w.matvec(codes(48, 2, 6))
    found, dense = amp(w, h, 2), amp(DenseDictionary(w.to_dense().T), h, 2)
    np.testing.assert_array_equal(found.indices, dense.indices)
    np.testing.assert_allclose(found.coefficients, dense.coefficients, rtol=1e-9)
    assert amp(w, np.zeros((0, 32)), 3).indices.shape == (0, 3)


def test_bad_options():
    w = generic_dictionary(True, 24, 40)
    for wrong in (0.0, -0.5, 1.5, np.nan, "half"):
        with pytest.raises(InvalidArgument, match="damping"):
            amp(w, noise(1, 24), 2, damping=wrong)
