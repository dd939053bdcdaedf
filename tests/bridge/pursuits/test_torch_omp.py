"""OMP in torch against the compiled one and an oracle: selections, ties, and why a signal stops."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from support.cases.torch_omp_cases import dictionary_of, near_tie, planted

from expander_theory import (
    DenseDictionary,
    Dictionary,
    Mask,
    RecoveryStatus,
    gaussian_dictionary,
    omp,
    sign_dictionary,
    sparse_code,
    uniform_mask,
)
from sae_bridge.kernels.omp import reference as omp_reference
from sae_bridge.kernels.omp.nonnegative import nonnegative_least_squares
from sae_bridge.pursuits.torch_omp import torch_omp

SIZES = [(64, 256, 4, 6), (96, 300, 7, 8), (128, 512, 12, 14), (60, 100, 16, 30)]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Problems this small lose by more, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("law", ["gaussian", "signs"])
@pytest.mark.parametrize("family", ["signs", "gaussian", "dense"])
@pytest.mark.parametrize(("m", "n", "d", "k"), SIZES)
def test_agrees_with_the_compiled_omp(m, n, d, k, family, law):
    """4 sizes x 3 families x 2 laws x (60 planted + 20 noise) = 1,920 signals, by every correlation they can take."""
    w = dictionary_of(family, m, n, d)
    h = np.concatenate([planted(w, k, 60, law), np.random.default_rng(0).standard_normal((20, m))])
    expected = omp(w, h, k)
    for correlation in ("product",) if family == "dense" else ("product", "gather"):
        found = torch_omp(w, torch.from_numpy(h), k, correlation=correlation).to_recovery()
        same = (found.indices == expected.indices).all(1)
        assert all(
            near_tie(w.to_dense(), h[b], expected.indices[b, : expected.steps[b]]) for b in np.flatnonzero(~same)
        )
        assert same.sum() >= (80 if law == "gaussian" else 70)
        np.testing.assert_array_equal(found.status[same], expected.status[same])
        np.testing.assert_array_equal(found.steps[same], expected.steps[same])
        np.testing.assert_allclose(found.coefficients[same], expected.coefficients[same], atol=1e-10)
        np.testing.assert_allclose(found.residual_norms[same], expected.residual_norms[same], atol=1e-12)
        assert found.n == n
        assert (found.indices.dtype, found.steps.dtype, found.status.dtype) == (np.int32, np.int32, np.int8)


@pytest.mark.parametrize("family", ["signs", "gaussian", "dense"])
def test_float32_selects_the_same(family):
    w = dictionary_of(family, 128, 512, 7)
    h = planted(w, 8, 100)
    found = torch_omp(w, torch.from_numpy(h).float(), 8)
    expected = omp(w, h, 8)
    assert found.coefficients.dtype == found.residual_norms.dtype == torch.float32
    np.testing.assert_array_equal(found.indices.numpy(), expected.indices)
    np.testing.assert_allclose(found.coefficients.numpy(), expected.coefficients, atol=1e-5)


@pytest.mark.parametrize("selection", ["magnitude", "nonnegative"])
def test_coefficients_are_refined(selection):
    """Columns of mutual coherence near 1, float32: the squared condition number would cost three more digits."""
    rng = np.random.default_rng(0)
    w = DenseDictionary(rng.standard_normal((1, 64)) + 0.03 * rng.standard_normal((128, 64))).normalised()
    w = w.astype(np.float32).astype(np.float64)
    x = np.abs(np.stack([sparse_code(128, 8, coefficients="signs", seed=t) for t in range(100)]))
    h = torch.from_numpy((w.matvec(x) + 1e-3 * rng.standard_normal((100, 64))).astype(np.float32))
    single, double = (torch_omp(w, signals, 8, selection=selection) for signals in (h, h.double()))
    same = (single.indices == double.indices).all(1)
    assert same.sum() >= 95
    difference = single.coefficients[same].double() - double.coefficients[same]
    assert difference.abs().max() < 3e-5


def oracle(matrix, h, k, nonnegative):
    """OMP by signed correlations; c by least squares, or by SciPy's active-set method."""
    order, c, residual = [], np.zeros(0), h
    for _ in range(k):
        correlation = matrix.T @ residual
        correlation[order] = -np.inf
        best = int(np.argmax(correlation))
        if correlation[best] <= 0:
            break
        order.append(best)
        atoms = matrix[:, order]
        c = nnls(atoms, h)[0] if nonnegative else np.linalg.lstsq(atoms, h, rcond=None)[0]
        residual = h - atoms @ c
    return order, c, np.linalg.norm(residual)


@pytest.mark.parametrize("selection", ["signed", "nonnegative"])
@pytest.mark.parametrize("family", ["gaussian", "dense"])
def test_signed_selections_agree_with_an_oracle(family, selection):
    """Noise, so that many atoms are wrong and, without the constraint, coefficients of both signs appear."""
    w = dictionary_of(family, 20, 40, 5)
    h = np.random.default_rng(1).standard_normal((60, 20))
    found = torch_omp(w, torch.from_numpy(h), 12, selection=selection).to_recovery()
    negative = zero = 0
    for b in range(60):
        order, c, left = oracle(w.to_dense(), h[b], 12, selection == "nonnegative")
        assert found.steps[b] == len(order)
        assert found.indices[b].tolist() == order + [-1] * (12 - len(order))
        np.testing.assert_allclose(found.coefficients[b, : len(order)], c, atol=1e-10)
        assert found.residual_norms[b] == pytest.approx(left)
        assert found.status[b] == (RecoveryStatus.NO_CORRELATION if len(order) < 12 else 0)
        negative, zero = negative + (found.coefficients[b] < 0).sum(), zero + (c == 0).sum()
    assert negative == 0 if selection == "nonnegative" else negative > 0
    assert selection == "signed" or zero > 0


def test_signed_selection_recovers_positive_codes_and_no_negative_one():
    w = dictionary_of("gaussian", 96, 300, 7)
    x = np.abs(np.stack([sparse_code(300, 4, coefficients="gaussian", seed=t) for t in range(30)])) + 0.0
    for selection in ("signed", "nonnegative"):
        found = torch_omp(w, torch.from_numpy(w.matvec(x)), 4, selection=selection).to_recovery()
        np.testing.assert_allclose(found.to_dense(), x, atol=1e-10)
    wrong = torch_omp(w, torch.from_numpy(w.matvec(-x)), 4, selection="signed").to_recovery()
    assert ((wrong.to_dense() != 0) != (x != 0)).any(1).all()


@pytest.mark.parametrize(("t", "m"), [(1, 3), (2, 4), (5, 8), (12, 20), (20, 22)])
def test_nonnegative_least_squares_agree_with_scipy(t, m):
    rng = np.random.default_rng(t)
    a, h = rng.standard_normal((60, m, t)) + 0.3, rng.standard_normal((60, m))
    allowed = rng.random((60, t)) < 0.9
    gram, target = (torch.from_numpy(np.einsum(s, a, x)) for s, x in (("bmi,bmj->bij", a), ("bmi,bm->bi", h)))
    for start in (np.zeros((60, t)), rng.random((60, t)) * allowed):
        found = nonnegative_least_squares(gram, target, torch.from_numpy(start), torch.from_numpy(allowed)).numpy()
        assert (found[~allowed] == 0).all()
        for b in range(60):
            best = nnls(a[b][:, allowed[b]], h[b])[0] if allowed[b].any() else np.zeros(0)
            np.testing.assert_allclose(found[b][allowed[b]], best, atol=1e-10)


@pytest.mark.parametrize("block", [1, 64, 1 << 16])
@pytest.mark.parametrize("correlation", ["product", "gather"])
def test_ties_go_to_the_lowest_index(correlation, block, monkeypatch):
    """Columns 2 and 3 and their copies, far apart; scores come in blocks of 1, 2 and all atoms."""
    monkeypatch.setitem(omp_reference._BLOCK, "cpu", block)
    rows = np.tile(np.array([6, 7], np.int32), (50, 1))
    rows[[2, 9, 30, 49]], rows[[3, 31, 48]] = [0, 1], [2, 3]
    w = Dictionary(Mask(8, rows), np.full((50, 2), np.sqrt(0.5)))
    h = torch.tensor([[1.0, 1, 1, 1, 0, 0, 0, 0], [1.0, 1, 3, 3, 0, 0, 0, 0]], dtype=torch.float64).repeat(16, 1)
    found = torch_omp(w, h, 2, correlation=correlation)
    assert found.indices.tolist() == [[2, 3], [3, 2]] * 16
    same = DenseDictionary(np.repeat(np.eye(4), 3, axis=0))
    order = torch_omp(same, torch.tensor([1.0, -3.0, 2.0, 0.5], dtype=torch.float64), 4).indices
    assert order.tolist() == [[3, 6, 0, 9]]


def test_stop_reasons():
    w = sign_dictionary(uniform_mask(32, 40, 4, seed=0), seed=0)
    one = np.zeros(40)
    one[3] = 2.0
    h = torch.from_numpy(np.stack([w.matvec(one), np.zeros(32), np.ones(32), w.matvec(one)]))
    found = torch_omp(w, h, 5).to_recovery()
    small = RecoveryStatus.RESIDUAL_SMALL
    assert found.status.tolist() == [small, small, RecoveryStatus.SPARSITY_REACHED, small]
    assert found.steps.tolist() == [1, 0, 5, 1]
    assert found.indices[[0, 1, 3]].tolist() == [[3, -1, -1, -1, -1], [-1] * 5, [3, -1, -1, -1, -1]]
    np.testing.assert_allclose(found.to_dense()[[0, 1, 3]], [one, 0 * one, one], atol=1e-12)
    assert (found.coefficients[found.indices < 0] == 0).all()
    assert found.residual_norms[1] == 0

    duplicates = Dictionary(Mask(3, np.array([[0], [0], [0]])), np.ones((3, 1)))
    for correlation in ("product", "gather"):
        stuck = torch_omp(duplicates, torch.tensor([1.0, 1.0, 0.0]), 2, correlation=correlation)
        assert stuck.status.tolist() == [RecoveryStatus.NO_CORRELATION]
        assert stuck.indices.tolist() == [[0, -1]]

    nearly = DenseDictionary(np.array([[1.0, 0.0], [np.cos(1e-9), np.sin(1e-9)]]))
    stuck = torch_omp(nearly, torch.tensor([1.0, 1e-3], dtype=torch.float64), 2)
    assert stuck.status.tolist() == [RecoveryStatus.DEPENDENT_ATOM]
    assert stuck.steps.tolist() == [1]
    assert stuck.residual_norms.item() == pytest.approx(1e-3)


def test_a_chosen_atom_is_not_chosen_again():
    """No tolerance: rounding makes the chosen atoms the best, and the others are dependent or orthogonal."""
    w = sign_dictionary(uniform_mask(12, 30, 3, seed=0), seed=0)
    found = torch_omp(w, torch.from_numpy(planted(w, 2, 50)), 12, relative_tolerance=0.0).to_recovery()
    for b in range(50):
        chosen = found.indices[b][: found.steps[b]]
        assert len(set(chosen.tolist())) == found.steps[b] >= 2
        assert np.linalg.matrix_rank(w.to_dense()[:, chosen]) == found.steps[b]


@pytest.mark.parametrize("selection", ["magnitude", "signed", "nonnegative"])
def test_early_stops_freeze_a_signal(selection):
    """Codes of 1 to 15 atoms plus noise in one chunk under a tolerance: each as if solved alone."""
    w = gaussian_dictionary(uniform_mask(64, 128, 6, seed=0), seed=0)
    x = np.abs(np.stack([sparse_code(128, 1 + t // 2, coefficients="gaussian", seed=t) for t in range(30)]))
    h = torch.from_numpy(w.matvec(x) + 0.02 * np.random.default_rng(0).standard_normal((30, 64)))
    options = {"relative_tolerance": 0.2, "selection": selection}
    together = torch_omp(w, h, 20, **options)
    assert len(set(together.steps.tolist())) > 4
    for b in range(30):
        alone = torch_omp(w, h[b], 20, **options)
        assert alone.indices.tolist() == together.indices[b : b + 1].tolist()
        torch.testing.assert_close(alone.coefficients[0], together.coefficients[b], atol=1e-12, rtol=0)
        shorter = torch_omp(w, h[b], max(1, int(together.steps[b])), **options)
        torch.testing.assert_close(
            shorter.coefficients[0, : together.steps[b]],
            together.coefficients[b, : together.steps[b]],
            atol=1e-12,
            rtol=0,
        )
    stopped = together.status == RecoveryStatus.RESIDUAL_SMALL
    assert (together.residual_norms[stopped] <= 0.2 * h.norm(dim=1)[stopped]).all()
    if selection == "magnitude":
        np.testing.assert_array_equal(together.indices.numpy(), omp(w, h.numpy(), 20, relative_tolerance=0.2).indices)
