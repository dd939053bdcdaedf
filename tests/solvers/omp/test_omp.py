"""The options of OMP and its stop reasons."""

import numpy as np
import pytest
from scipy.optimize import nnls
from support.cases import omp_oracle
from support.cases.omp_cases import DTYPES, H, W, assert_same, codes, every_backend, of_kind

from expander_theory import (
    Dictionary,
    Mask,
    RecoveryStatus,
    babel_certified_k,
    gaussian_dictionary,
    omp,
    polynomial_mask,
    sign_dictionary,
    uniform_mask,
)


def drawn_options(rng, n, k, batch):
    """k of each signal and any of the options, or none."""
    ks = rng.integers(1, k + 1, batch) if rng.integers(2) else k
    options = {"selection": str(rng.choice(["magnitude", "signed"]))}
    if rng.integers(2):
        first = np.stack([rng.permutation(n)[: np.min(ks)] for _ in range(batch)])
        first[np.arange(first.shape[1]) >= rng.integers(0, first.shape[1] + 1, (batch, 1))] = -1
        options["preselected"] = first
    if rng.integers(3) == 0:
        options["planted"] = np.stack([rng.permutation(n)[: n // 2] for _ in range(batch)])
    if rng.integers(2):
        options["relative_tolerance"] = float(rng.choice([0.01, 0.1, 0.3]))
    return ks, options


@every_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_options_together(masked, backend, dtype):
    """30 problems with drawn options against the definition; wide and narrow dictionaries."""
    rng, signals, left_out = np.random.default_rng(1), 0, 0
    for seed in range(30):
        m, n = int(rng.integers(8, 50)), int(rng.integers(2, 120))
        w = gaussian_dictionary(uniform_mask(m, n, int(rng.integers(3, 8)), seed=seed), seed=seed)
        k = min(m, n, int(rng.integers(1, 9)))
        h = rng.standard_normal((9, m)).astype(dtype)
        ks, options = drawn_options(rng, n, k, len(h))
        found = omp(of_kind(w, masked), h, ks, backend=backend, path=True, **options)
        answers = omp_oracle.omp_batch(w.to_dense(), h, ks, dtype=dtype, **options)
        left_out += omp_oracle.check(found, answers, h)
        signals += len(h)
    assert left_out <= 0.03 * signals


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [True, False])
def test_nonnegative(masked, dtype):
    """The definition with scipy's nonnegative least squares; among the chosen atoms no code fits better."""
    rng, left_out = np.random.default_rng(2), 0
    for seed in range(15):
        m, n = int(rng.integers(8, 50)), int(rng.integers(5, 120))
        w = gaussian_dictionary(uniform_mask(m, n, int(rng.integers(2, 8)), seed=seed), seed=seed)
        k = min(m, n, int(rng.integers(1, 15)))
        h = (w.matvec(np.abs(codes(n, k, 9))) + 0.3 * rng.standard_normal((9, m))).astype(dtype)
        ks, options = drawn_options(rng, n, k, len(h))
        options["selection"] = "nonnegative"
        found = omp(of_kind(w, masked), h, ks, path=True, **options)
        answers = omp_oracle.omp_batch(w.to_dense(), h, ks, dtype=dtype, **options)
        left_out += omp_oracle.check(found, answers, h)
        assert (found.coefficients >= 0).all()
        assert (found.path.coefficients >= 0).all()
        for b in range(9):
            columns = w.to_dense()[:, found.indices[b, : found.steps[b]]]
            least = nnls(columns, h[b].astype(float))[1] if columns.size else np.linalg.norm(h[b])
            assert found.residual_norms[b] == pytest.approx(least, rel=1e-5)
    assert left_out <= 0.03 * 15 * 9


def test_nonnegative_differs_from_signed_where_a_coefficient_would_be_negative():
    signed, nonnegative = (omp(W, H, 20, selection=selection) for selection in ("signed", "nonnegative"))
    assert (signed.coefficients < 0).any()
    assert (nonnegative.coefficients == 0)[np.arange(20) < nonnegative.steps[:, None]].any()
    both = (signed.coefficients >= 0).all(axis=1) & (signed.steps == 3)
    np.testing.assert_allclose(signed.coefficients[both], nonnegative.coefficients[both], atol=1e-10)


def test_nonnegative_with_atoms_that_do_not_meet_the_signal():
    """Preselected atoms that h opposes, or that are orthogonal to it, get coefficient 0."""
    w = Dictionary(Mask(6, np.array([[0, 1], [2, 3], [4, 5]])), np.full((3, 2), np.sqrt(0.5)))
    found = omp(w, np.array([2.0, 1, -1, -1, 1, -1]), 3, selection="nonnegative", preselected=[1, 2, 0])
    assert found.indices.tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(found.coefficients, [[0, 0, 3 * np.sqrt(0.5)]], atol=1e-15)


@every_backend
def test_signed_stops_when_all_other_atoms_point_away(masked, backend):
    """Not at a chosen atom whose correlation rounding has left positive, the first one included."""
    w = gaussian_dictionary(uniform_mask(6, 2, 4, seed=0), seed=0)
    h = np.random.default_rng(0).standard_normal((200, 6))
    answers = omp_oracle.omp_batch(w.to_dense(), h, 2, selection="signed")
    found = omp(of_kind(w, masked), h, 2, selection="signed", backend=backend)
    assert omp_oracle.check(found, answers, h) == 0
    stopped = found.status == RecoveryStatus.NO_CORRELATION
    assert (stopped & (found.indices[:, 0] == 0)).sum() > 10


@every_backend
def test_preselected_atoms_come_first(masked, backend):
    """They are taken in their order, count among k, and what follows is what their least squares leaves."""
    w = of_kind(W, masked)
    found = omp(w, H, 6, preselected=[50, 3, 7], backend=backend)
    assert (found.indices[:, :3] == [50, 3, 7]).all()
    assert (found.steps == 6).all()
    only = omp(w, H, 3, preselected=[50, 3, 7], backend=backend)
    columns = W.to_dense()[:, [50, 3, 7]]
    np.testing.assert_allclose(only.coefficients, np.linalg.lstsq(columns, H.T, rcond=None)[0].T, atol=1e-12)
    left = H - only.to_dense() @ W.to_dense().T
    np.testing.assert_array_equal(found.indices[:, 3], np.abs(left @ W.to_dense()).argmax(axis=1))


@every_backend
def test_what_was_found_can_be_continued(masked, backend):
    """The first steps preselected: the same atoms and codes as in one run."""
    w = of_kind(W, masked)
    whole, first = omp(w, H, 9, backend=backend), omp(w, H, 4, backend=backend)
    rest = omp(w, H, 9, preselected=first.indices, backend=backend)
    np.testing.assert_array_equal(rest.indices, whole.indices)
    np.testing.assert_allclose(rest.coefficients, whole.coefficients, atol=1e-12)
    each = [[0, 1], [2, -1], [-1, -1]]
    found = omp(w, H[:3], 2, preselected=each, backend=backend)
    assert found.indices[0].tolist() == [0, 1]
    assert found.indices[1, 0] == 2
    assert found.indices[2].tolist() == omp(w, H[2], 2, backend=backend).indices[0].tolist()


@every_backend
def test_one_k_for_each_signal(masked, backend):
    """As if each was solved by itself, up to the rounding of matrix products."""
    ks = np.random.default_rng(0).integers(1, 12, len(H))
    found = omp(of_kind(W, masked), H, ks, backend=backend, path=True)
    assert found.indices.shape == (len(H), ks.max())
    np.testing.assert_array_equal(found.steps, ks)
    for b, k in enumerate(ks):
        alone = omp(of_kind(W, masked), H[b], int(k), backend=backend, path=True)
        np.testing.assert_array_equal(found.indices[b, :k], alone.indices[0])
        np.testing.assert_allclose(found.coefficients[b, :k], alone.coefficients[0], atol=1e-12)
        np.testing.assert_allclose(found.path.coefficients[b, :k, :k], alone.path.coefficients[0], atol=1e-12)
        np.testing.assert_allclose(found.path.residual_norms[b, :k], alone.path.residual_norms[0], atol=1e-12)


@every_backend
def test_early_stop_at_the_first_wrong_atom(masked, backend):
    """The same atoms as without, up to the first outside the support; none where the code is recovered."""
    w = of_kind(W, masked)
    x = codes(90, 9, 150)
    supports = np.nonzero(x)[1].reshape(150, 9)
    h = W.matvec(x)
    full, early = omp(w, h, 9, backend=backend), omp(w, h, 9, planted=supports, backend=backend)
    recovered = np.array([set(full.indices[b]) == set(supports[b]) for b in range(150)])
    assert 10 < recovered.sum() < 140
    np.testing.assert_array_equal(early.status == RecoveryStatus.FIRST_MISS, ~recovered)
    for b in range(150):
        good = [atom in supports[b] for atom in full.indices[b]]
        expected = 9 if recovered[b] else good.index(False)
        assert early.steps[b] == expected
        assert early.indices[b, :expected].tolist() == full.indices[b, :expected].tolist()
    np.testing.assert_allclose(early.to_dense()[recovered], x[recovered], atol=1e-10)
    left = np.linalg.norm(h - early.to_dense() @ W.to_dense().T, axis=1)
    np.testing.assert_allclose(early.residual_norms, left, atol=1e-10)
    filled = np.sort(np.pad(supports, ((0, 0), (0, 3)), constant_values=-1), axis=1)  # -1 anywhere, as in supports
    assert_same(omp(w, h, 9, planted=filled, backend=backend), early)


@every_backend
def test_the_path_is_every_shorter_run(masked, backend):
    w = of_kind(W, masked)
    found = omp(w, H, 8, path=True, backend=backend)
    assert omp(w, H, 8, backend=backend).path is None
    assert found.path.coefficients.shape == (len(H), 8, 8)
    for t in range(8):
        shorter = omp(w, H, t + 1, backend=backend)
        np.testing.assert_array_equal(found.indices[:, : t + 1], shorter.indices)
        np.testing.assert_allclose(found.path.coefficients[:, t, : t + 1], shorter.coefficients, atol=1e-11)
        np.testing.assert_allclose(found.path.residual_norms[:, t], shorter.residual_norms, rtol=1e-11)
    np.testing.assert_array_equal(found.path.coefficients[:, 7], found.coefficients)
    np.testing.assert_array_equal(found.path.residual_norms[:, 7], found.residual_norms)


@every_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_stop_reasons(masked, backend, dtype):
    def solve(w, h, k, **options):
        found = omp(of_kind(w, masked), np.asarray(h, dtype), k, backend=backend, **options)
        return RecoveryStatus(found.status[0]).name, found.indices[0, : found.steps[0]].tolist(), found

    w = sign_dictionary(uniform_mask(32, 40, 4, seed=0), seed=0)
    assert solve(w, np.zeros(32), 3)[:2] == ("RESIDUAL_SMALL", [])
    assert solve(w, -2 * w.to_dense()[:, 3], 5)[:2] == ("RESIDUAL_SMALL", [3])
    assert solve(w, -2 * w.to_dense()[:, 3], 1)[:2] == ("RESIDUAL_SMALL", [3])  # k reached, and nothing left
    reason, atoms, found = solve(w, np.ones(32), 2)
    assert (reason, len(atoms)) == ("SPARSITY_REACHED", 2)

    equal = Dictionary(Mask(3, np.array([[0, 1]] * 3)), np.array([[1, 1], [1, 1], [-1, -1]]) * np.sqrt(0.5))
    assert solve(equal, [1, 1, 1], 2, preselected=[1, 2])[:2] == ("DEPENDENT_ATOM", [1])
    epsilon = {np.float64: 1e-9, np.float32: 1e-4}[dtype]
    nearly = Dictionary(Mask(3, np.array([[0, 1]] * 2)), np.array([[1, 0], [np.cos(epsilon), np.sin(epsilon)]]))
    reason, atoms, _ = solve(nearly, [1, 1e-3, 0], 2)
    assert (reason, len(atoms)) == ("DEPENDENT_ATOM", 1)

    units = Dictionary(Mask(3, np.array([[0], [0], [1]])), np.ones((3, 1)))
    assert solve(units, [0, 0, 1], 1)[:2] == ("NO_CORRELATION", [])
    reason, atoms, found = solve(units, [1, 0, 1], 2)
    assert (reason, atoms, found.residual_norms.tolist()) == ("NO_CORRELATION", [0], [1.0])
    assert solve(units, [1, -1, 1], 2, selection="signed")[:2] == ("NO_CORRELATION", [0])
    assert solve(units, [-1, -1, 1], 2, selection="signed")[:2] == ("NO_CORRELATION", [])
    assert solve(units, [3, 2, 1], 2, planted=[[1, 2]])[:2] == ("FIRST_MISS", [])
    assert solve(units, [3, 2, 1], 2, planted=[[0, 1]])[:2] == ("FIRST_MISS", [0])


def test_every_status_is_explained():
    assert all(status.explanation for status in RecoveryStatus)


@every_backend
@pytest.mark.parametrize("tolerance", [0.0, 0.3, 0.9])
def test_tolerance(masked, backend, tolerance):
    """A signal stops after the first step that brings its residual below."""
    found = omp(of_kind(W, masked), H, 12, relative_tolerance=tolerance, backend=backend)
    path = omp(of_kind(W, masked), H, 12, path=True, backend=backend).path.residual_norms
    below = path <= tolerance * np.linalg.norm(H, axis=1, keepdims=True)
    expected = np.where(below.any(axis=1), below.argmax(axis=1) + 1, 12)
    np.testing.assert_array_equal(found.steps, expected)
    np.testing.assert_array_equal(found.status == RecoveryStatus.RESIDUAL_SMALL, below.any(axis=1))
    assert (tolerance < 0.9) or (expected < 12).any()


@pytest.mark.parametrize("masked", [True, False])
def test_recovers_what_babel_certifies(masked):
    """OMP-3 on a mask with certified k: every code tried is recovered, whatever its dynamic range."""
    w = sign_dictionary(polynomial_mask(16, 8), seed=0)
    k = babel_certified_k(w)
    assert k >= 3
    x = codes(w.n, k, 200) * 10.0 ** np.random.default_rng(0).uniform(-3, 3, (200, w.n))
    found = omp(of_kind(w, masked), w.matvec(x), k)
    np.testing.assert_array_equal(found.to_dense() != 0, x != 0)
