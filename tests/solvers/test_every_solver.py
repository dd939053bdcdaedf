"""What all solvers have in common: shapes, scales, dtypes, batches, edge cases, errors."""

import numpy as np
import pytest
from support.cases.solver_cases import codes, noise

from expander_theory import (
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    Mask,
    RecoveryStatus,
    dense_gaussian_dictionary,
    overlap_limited_mask,
    sign_dictionary,
    topk,
)
from expander_theory._kernels.pursuits import atoms
from expander_theory.solvers.basis_pursuit import basis_pursuit
from expander_theory.solvers.gomp import gomp
from expander_theory.solvers.l0_decoding import l0_decoding
from expander_theory.solvers.lasso import lasso
from expander_theory.solvers.matching_pursuit import matching_pursuit
from expander_theory.solvers.smp import smp
from expander_theory.solvers.ssmp import ssmp
from expander_theory.solvers.thresholding.amp import amp
from expander_theory.solvers.thresholding.cosamp import cosamp
from expander_theory.solvers.thresholding.htp import htp
from expander_theory.solvers.thresholding.niht import niht
from expander_theory.solvers.thresholding.subspace_pursuit import subspace_pursuit

EITHER = [topk, matching_pursuit, gomp, cosamp, niht, htp, subspace_pursuit, amp, lasso, basis_pursuit]
MASKED = [ssmp, smp, l0_decoding]
BY_CORRELATION = [topk, matching_pursuit, gomp, cosamp, niht, htp, subspace_pursuit, amp]
ITERATIVE = [matching_pursuit, cosamp, niht, htp, subspace_pursuit, amp, lasso, ssmp, smp, l0_decoding]
WITH_TOLERANCE = [matching_pursuit, gomp, cosamp, niht, htp, subspace_pursuit, amp, ssmp, smp]
PROGRAMMES = [basis_pursuit, lasso]
KINDS = [(solver, True) for solver in EITHER + MASKED] + [(solver, False) for solver in EITHER]

W = sign_dictionary(overlap_limited_mask(128, 160, 7, max_overlap=1, seed=0), seed=0)
X = codes(160, 3, 12)  # mu <= 1/7: every solver but the one-step encoder is sure of k = 3, or nearly


def dictionary(masked):
    return W if masked else DenseDictionary(W.to_dense().T)


def assert_consistent(found, w, h):
    """Every field of a recovery says the same."""
    batch, k = found.indices.shape
    assert found.coefficients.shape == (batch, k)
    for b in range(batch):
        used = found.indices[b, : found.steps[b]]
        assert (used >= 0).all()
        assert len(set(used.tolist())) == used.size
        assert (found.indices[b, found.steps[b] :] == -1).all()
        assert (found.coefficients[b, found.steps[b] :] == 0).all()
    residual = np.linalg.norm(h - found.to_dense() @ w.to_dense().T, axis=1)
    scale = np.linalg.norm(h, axis=1).max(initial=1e-300)
    error = 1e-12 if found.coefficients.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(found.residual_norms / scale, residual / scale, atol=error)


@pytest.mark.parametrize(("solver", "masked"), KINDS)
def test_easy_codes_come_back_in_both_dtypes(solver, masked):
    """k = 3 of 160: all solvers but the one-step encoder recover them, with single precision too."""
    w = dictionary(masked)
    h = W.matvec(X)
    for dtype, error in [(np.float64, 1e-9), (np.float32, 1e-3)]:
        found = solver(w, h.astype(dtype), 3)
        assert found.coefficients.dtype == found.residual_norms.dtype == dtype
        assert_consistent(found, w, h)
        if solver is not topk:
            np.testing.assert_array_equal(found.supports, np.nonzero(X)[1].reshape(12, 3))
            np.testing.assert_allclose(found.to_dense(), X, atol=error)
            good = RecoveryStatus.OPTIMAL if solver in PROGRAMMES else RecoveryStatus.RESIDUAL_SMALL
            assert (found.status == good).all()
            assert found.iterations.shape == (12,)
            assert found.iterations.dtype == np.int32


@pytest.mark.parametrize(("solver", "masked"), KINDS)
def test_noise_is_consistent(solver, masked):
    w = dictionary(masked)
    h = noise(6, 128)
    for k in (1, 3, 40, 128):
        if k > 3 and solver in (basis_pursuit, ssmp):
            continue  # slow, and nothing new
        assert_consistent(solver(w, h, k), w, h)


@pytest.mark.parametrize(("solver", "masked"), [kind for kind in KINDS if kind[0] not in (topk, niht)])
def test_codes_sparser_than_k(solver, masked):
    """Two nonzeros where k = 6: no rounding error is taken for a coefficient (NIHT and the encoder keep k)."""
    x = codes(160, 2, 10)
    found = solver(dictionary(masked), W.matvec(x), 6)
    np.testing.assert_array_equal(found.to_dense() != 0, x != 0)
    assert (found.steps == 2).all()


@pytest.mark.parametrize("solver", EITHER + MASKED)
@pytest.mark.parametrize("exponent", [-1000, 600, 1000])
def test_scale_does_not_matter(solver, exponent):
    """Signals whose squares overflow or vanish: the same code times the same power of two."""
    h = W.matvec(X)
    plain, scaled = solver(W, h, 3), solver(W, np.ldexp(h, exponent), 3)
    np.testing.assert_array_equal(plain.indices, scaled.indices)
    np.testing.assert_array_equal(np.ldexp(plain.coefficients, exponent), scaled.coefficients)
    np.testing.assert_array_equal(plain.status, scaled.status)
    np.testing.assert_array_equal(plain.iterations, scaled.iterations)


@pytest.mark.parametrize("solver", EITHER + MASKED)
def test_a_signal_alone_gives_what_it_gives_in_a_batch(solver):
    h = W.matvec(X) + 0.05 * noise(12, 128)
    h[3] = 0
    together = solver(W, h, 3)
    for b in range(0, 12, 3):
        alone = solver(W, h[b], 3)
        assert alone.indices.shape == (1, 3)
        for name in ("indices", "coefficients", "steps", "status", "residual_norms"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[b])


@pytest.mark.parametrize("solver", EITHER + MASKED)
def test_zero_and_single_atoms(solver):
    zero = solver(W, np.zeros(128), 2)
    assert not zero.to_dense().any()
    assert zero.residual_norms.tolist() == [0.0]
    if solver is not topk:
        assert zero.steps.tolist() == [0]
    one = np.zeros(160)
    one[[7]] = -2.5
    found = solver(W, W.matvec(one), 1)
    np.testing.assert_allclose(found.to_dense()[0], one, atol=1e-12)


@pytest.mark.parametrize("solver", EITHER + MASKED)
def test_duplicate_columns(solver):
    """One of two equal columns explains the signal, and it is the first, whatever the solver."""
    rows = np.concatenate([W.mask.rows[:20], W.mask.rows[:20]])
    w = Dictionary(Mask(128, rows), np.concatenate([W.values[:20]] * 2))
    x = np.zeros((5, 40))
    for b in range(5):
        x[b, b] = 1.0 + b
    options = {"damping": 0.5} if solver is amp else {}  # undamped, two copies overshoot more in each iteration
    found = solver(w, w.matvec(x), 1, **options)
    if solver is not basis_pursuit:  # any mixture of the two has the same l1 norm
        np.testing.assert_allclose(found.to_dense(), x, atol=1e-12)
    else:
        both = found.to_dense()[:, :20] + found.to_dense()[:, 20:]
        np.testing.assert_allclose(both, x[:, :20], atol=1e-9)


@pytest.mark.parametrize("solver", EITHER + MASKED)
@pytest.mark.parametrize(
    ("signals", "k", "name"),
    [
        (np.ones(128), 129, "k"),
        (np.ones(128), 0, "k"),
        (np.ones(128), 1.5, "k"),
        (np.ones(127), 1, "signals"),
        (np.ones((2, 2, 128)), 1, "signals"),
        (np.ones(128, complex), 1, "signals"),
        (np.array([1.0] * 127 + [np.nan]), 1, "signals"),
    ],
)
def test_bad_arguments_are_named(solver, signals, k, name):
    with pytest.raises(InvalidArgument) as caught:
        solver(W, signals, k)
    assert caught.value.name == name


@pytest.mark.parametrize("solver", WITH_TOLERANCE)
def test_tolerance(solver):
    h = W.matvec(X) + 1e-4 * noise(12, 128)
    assert (solver(W, h, 3).status != RecoveryStatus.RESIDUAL_SMALL).all()
    assert (solver(W, h, 3, relative_tolerance=0.01).status == RecoveryStatus.RESIDUAL_SMALL).all()
    for wrong in (-0.1, 1.0, np.nan):
        with pytest.raises(InvalidArgument, match="relative_tolerance"):
            solver(W, h, 3, relative_tolerance=wrong)


@pytest.mark.parametrize("solver", ITERATIVE)
def test_limit_of_iterations(solver):
    assert (solver(W, W.matvec(X), 3, max_iterations=1).iterations <= 1).all()
    for wrong in (0, -1, 2.5):
        with pytest.raises(InvalidArgument) as caught:
            solver(W, np.ones(128), 1, max_iterations=wrong)
        assert caught.value.name == "max_iterations"


@pytest.mark.parametrize("solver", BY_CORRELATION)
def test_unequal_columns_are_refused_where_correlations_choose(solver):
    scaled = Dictionary(W.mask, 1.01 * W.values)
    with pytest.raises(InvalidArgument, match="normalised"):
        solver(scaled, np.ones(128), 1)


@pytest.mark.parametrize("solver", [basis_pursuit, *MASKED])
def test_columns_of_any_norm_elsewhere(solver):
    scales = 2.0 ** np.random.default_rng(0).integers(-3, 4, 160)
    scaled = Dictionary(W.mask, W.values * scales[:, None])
    x = X / scales
    np.testing.assert_allclose(solver(scaled, W.matvec(X), 3).to_dense(), x, atol=1e-9 * np.abs(x).max())


def test_kernels_and_statuses_have_the_same_numbers():
    names = [name for name in dir(atoms) if name.isupper()]
    assert {name: getattr(atoms, name) for name in names} == {name: int(RecoveryStatus[name]) for name in names}
    assert len(names) == 9


def test_a_dense_dictionary_has_no_mask():
    for solver in MASKED:
        with pytest.raises(InvalidArgument, match="must be masked"):
            solver(dense_gaussian_dictionary(8, 12, seed=0), np.ones(8), 1)
