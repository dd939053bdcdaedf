import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from support import oracles

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
    uniform_mask,
)
from expander_theory.base.errors import MissingResource
from sae_bridge.codes.tensor_dictionary import TensorDictionary
from sae_bridge.codes.torch_omp import torch_omp
from sae_bridge.kernels.omp import reference as omp_reference
from sae_bridge.kernels.omp.nonnegative import nonnegative_least_squares
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE

SIZES = [(64, 256, 4, 6), (96, 300, 7, 8), (128, 512, 12, 14), (60, 100, 16, 30)]
FAMILIES = {"signs": sign_dictionary, "gaussian": gaussian_dictionary}
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Problems this small lose by more, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def dictionary_of(family, m, n, d):
    if family == "dense":
        return dense_gaussian_dictionary(m, n, seed=1)
    return FAMILIES[family](uniform_mask(m, n, d, seed=d), seed=2)


def planted(w, k, count, law="gaussian"):
    return w.matvec(np.stack([sparse_code(w.n, k, coefficients=law, seed=t) for t in range(count)]))


def near_tie(matrix, h, order):
    """Whether the first choice that differs from ``order`` or any before it was decided by less than 1e-9 ||h||."""
    residual = h
    order = list(order)
    for t, atom in enumerate(order):
        correlation = np.abs(matrix.T @ residual)
        correlation[order[:t]] = -1
        if np.sort(correlation)[-1] - np.sort(correlation)[-2] < 1e-9 * np.linalg.norm(h):
            return True
        chosen = matrix[:, [*order[:t], atom]]
        residual = h - chosen @ np.linalg.lstsq(chosen, h, rcond=None)[0]
    return False


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


@pytest.mark.parametrize("family", ["signs", "dense"])
def test_the_batch_size_does_not_matter(family):
    w = dictionary_of(family, 64, 200, 5)
    h = torch.from_numpy(np.random.default_rng(0).standard_normal((37, 64)))
    whole = torch_omp(w, h, 9)
    for size in (1, 2, 10, 36, 37, 1000):
        parts = torch_omp(w, h, 9, batch_size=size)
        for name in ("indices", "steps", "status"):
            assert torch.equal(getattr(parts, name), getattr(whole, name))
        torch.testing.assert_close(parts.coefficients, whole.coefficients, atol=1e-12, rtol=0)
        torch.testing.assert_close(parts.residual_norms, whole.residual_norms, atol=1e-12, rtol=0)


def test_empty_batches_and_single_signals():
    w = dictionary_of("signs", 64, 200, 5)
    assert torch_omp(w, torch.zeros(0, 64), 3).indices.shape == (0, 3)
    assert torch_omp(w, torch.ones(64), 3).coefficients.shape == (1, 3)


def test_no_array_of_scores_is_stored():
    w = sign_dictionary(uniform_mask(256, 20_000, 4, seed=0), seed=0)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in torch.utils._pytree.tree_leaves(out) if isinstance(t, torch.Tensor))
            return out

    typed = TensorDictionary.of(w, torch.zeros(1))
    with Watch():
        torch_omp(typed, torch.randn(100, 256, generator=torch.Generator().manual_seed(0)), 3)
    assert max(sizes) <= 20_000 * 4 < 20_000 * 100


@pytest.mark.parametrize(("dtype", "exponents"), [(np.float64, (-1000, -600, 600, 1000)), (np.float32, (-110, 110))])
def test_scale_does_not_matter(dtype, exponents):
    """Squares that overflow or vanish: the same code times the same power of two."""
    w = gaussian_dictionary(uniform_mask(40, 80, 5, seed=0), seed=0)
    h = planted(w, 4, 10).astype(dtype)
    plain = torch_omp(w, torch.from_numpy(h), 4).to_recovery()
    for exponent in exponents:
        scaled = torch_omp(w, torch.from_numpy(np.ldexp(h, exponent)), 4).to_recovery()
        np.testing.assert_array_equal(plain.indices, scaled.indices)
        np.testing.assert_array_equal(np.ldexp(plain.coefficients, exponent), scaled.coefficients)
        np.testing.assert_array_equal(plain.status, scaled.status)
    first = torch.from_numpy(np.eye(1, 40, dtype=dtype))
    least = torch_omp(w, first * float(np.finfo(dtype).smallest_subnormal), 2)
    assert torch.equal(least.indices, torch_omp(w, first, 2).indices)


def test_products_are_exact_and_the_settings_come_back(monkeypatch):
    backend = torch.backends.cuda.matmul
    if not hasattr(backend, "fp32_precision"):
        pytest.skip("this torch has the older switch alone")
    seen, product = [], omp_reference.by_product

    def spy(*args):
        seen.append((backend.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return product(*args)

    monkeypatch.setattr(omp_reference, "by_product", spy)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        with pytest.raises(KeyboardInterrupt):
            torch_omp(dictionary_of("dense", 20, 40, 0), torch.ones(20), 3)
        assert torch.get_float32_matmul_precision() == "high"
        assert backend.fp32_precision == "tf32"
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(seen) == {("ieee", "ieee")}


@pytest.mark.parametrize("selection", ["magnitude", "nonnegative"])
@pytest.mark.parametrize("family", ["signs", "dense"])
def test_every_tensor_is_made_where_the_signals_are(family, selection):
    """With another default device, a tensor made without naming the signals' device would not fit the others."""
    w = dictionary_of(family, 30, 80, 5)
    h = torch.randn(9, 30, generator=torch.Generator().manual_seed(0))
    typed = TensorDictionary.of(w, h)
    for correlation in ("auto", "gather") if family == "signs" else ("auto",):
        expected = torch_omp(typed, h, 4, selection=selection, correlation=correlation)
        with torch.device("meta"):
            found = torch_omp(typed, h, 4, selection=selection, correlation=correlation)
        assert torch.equal(found.indices, expected.indices)
        assert found.coefficients.device.type == "cpu"


@pytest.mark.parametrize("family", ["gaussian", "dense"])
@pytest.mark.parametrize("scale", [1.0, 1e-200])
def test_columns_of_any_norm(family, scale):
    """The selections of the unit columns, and the coefficients of those given."""
    unit = dictionary_of(family, 64, 200, 5)
    norms = scale * np.random.default_rng(0).uniform(0.1, 10, (200, 1))
    if isinstance(unit, Dictionary):
        given = Dictionary(unit.mask, unit.values * norms)
    else:
        given = DenseDictionary(unit.columns * norms)
    h = planted(unit, 6, 40)
    expected = torch_omp(unit, torch.from_numpy(h), 6).to_recovery()
    found = torch_omp(given, torch.from_numpy(h), 6).to_recovery()
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.coefficients, expected.coefficients / norms[found.indices, 0], rtol=1e-9)
    np.testing.assert_allclose(found.residual_norms, expected.residual_norms, atol=1e-12)


def test_a_decoder_is_a_dictionary():
    """An SAE's parameters, as they are, and the numpy dictionary of the same decoder."""
    mask = uniform_mask(32, 64, 4, seed=0)
    h = torch.randn(10, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for sae in (ExpanderSAE(mask, 3), TopKSAE(32, 64, 3)):
        typed = TensorDictionary(sae.m, sae.weight, sae.rows)
        found = torch_omp(typed, h, 3)
        assert not found.coefficients.requires_grad
        assert typed.values.data_ptr() != sae.weight.data_ptr()  # a training step does not change what is cached
        np.testing.assert_array_equal(found.indices.numpy(), omp(sae.dictionary(), h.numpy(), 3).indices)


W = sign_dictionary(uniform_mask(8, 12, 3, seed=0), seed=0)
H = torch.ones(8)


@pytest.mark.parametrize(
    ("signals", "k", "options", "name"),
    [
        (H, 9, {}, "k"),
        (H, 0, {}, "k"),
        (H, 1.5, {}, "k"),
        (H[:7], 1, {}, "signals"),
        (torch.ones(2, 2, 8), 1, {}, "signals"),
        (torch.ones(8, dtype=torch.int64), 1, {}, "signals"),
        (H.bfloat16(), 1, {}, "signals"),
        (np.ones(8), 1, {}, "signals"),
        (H * float("nan"), 1, {}, "signals"),
        (H, 1, {"relative_tolerance": -1.0}, "relative_tolerance"),
        (H, 1, {"relative_tolerance": 1.0}, "relative_tolerance"),
        (H, 1, {"selection": "largest"}, "selection"),
        (H, 1, {"batch_size": 0}, "batch_size"),
        (H, 1, {"batch_size": 2.5}, "batch_size"),
        (H, 1, {"correlation": "fast"}, "correlation"),
    ],
)
def test_bad_arguments_are_named(signals, k, options, name):
    with pytest.raises(InvalidArgument) as caught:
        torch_omp(W, signals, k, **options)
    assert caught.value.name == name


ROWS = torch.tensor([[0, 1], [1, 2]])
VALUES = torch.full((2, 2), 0.5**0.5)


@pytest.mark.parametrize(
    ("values", "rows", "name"),
    [
        (VALUES, ROWS.float(), "rows"),
        (VALUES, ROWS + 1, "rows"),
        (VALUES, ROWS - 1, "rows"),
        (VALUES, torch.tensor([[0, 1], [2, 2]]), "rows"),
        (VALUES[:, :1], ROWS, "values"),
        (VALUES[:1], ROWS, "rows"),
        (VALUES[0], None, "values"),
        (VALUES, None, "values"),
        (VALUES.long(), ROWS, "values"),
        (VALUES * torch.tensor([[1.0], [0.0]]), ROWS, "values"),
        (VALUES * float("nan"), ROWS, "values"),
    ],
)
def test_bad_dictionaries_are_named(values, rows, name):
    with pytest.raises(InvalidArgument) as caught:
        TensorDictionary(3, values, rows)
    assert caught.value.name == name


def test_correlations_that_cannot_be_had_are_refused(monkeypatch):
    dense = dictionary_of("dense", 8, 12, 0)
    with pytest.raises(InvalidArgument, match="must be 'product' for a dense dictionary"):
        torch_omp(dense, H, 1, correlation="gather")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InvalidArgument, match="needs signals on CUDA; they are on cpu"):
        torch_omp(W, H, 1, correlation="triton")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingResource, match="pip install triton"):
        torch_omp(W, H, 1, correlation="triton")


def test_the_triton_kernel_in_its_interpreter():
    """In a process of its own, since the switch is read when the kernel is imported."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    code = "import test_torch_omp as t; t.check_triton('cpu')"
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@cuda
def test_the_triton_kernel_on_cuda(monkeypatch):
    pytest.importorskip("triton")
    from sae_bridge.kernels.omp import triton as omp_triton

    monkeypatch.setattr(omp_triton, "_PROGRAMS", omp_triton._PROGRAMS)  # set by the check
    check_triton("cuda")


def selections():
    """(rows, values, residual, chosen, magnitude), scores (n, B): small integers, so that ties are many and exact."""
    generator = torch.Generator().manual_seed(0)
    for m, n, d, batch, t in [(4, 5, 2, 3, 0), (20, 70, 3, 130, 4), (9, 33, 9, 1, 3), (12, 150, 2, 5, 40)]:
        rows = torch.from_numpy(uniform_mask(m, n, d, seed=n).rows.copy())
        chosen = torch.stack([torch.randperm(n, generator=generator)[:t] for _ in range(batch)], dim=1)
        if t:
            chosen[t - 1, 0] = -1
        for dtype, magnitude in ((torch.float32, True), (torch.float64, False)):
            values = torch.randint(-1, 2, (n, d), generator=generator).to(dtype)
            residual = torch.randint(-3, 4, (m, batch), generator=generator).to(dtype)
            scores = residual.new_zeros(n, m).scatter_(1, rows.long(), values) @ residual
            scores = scores.abs() if magnitude else scores
            for b in range(batch):
                scores[[atom for atom in chosen[:, b].tolist() if atom >= 0], b] = -torch.inf
            yield (rows, values, residual, chosen, magnitude), scores


def assert_selects(kernel, arguments, scores):
    score, atom = kernel(*arguments)
    assert torch.equal(score.cpu(), scores.amax(0))
    assert atom.tolist() == scores.numpy().argmax(0).tolist()  # NumPy's argmax is the first


@pytest.mark.parametrize("block", [1, 64, 1 << 16])
def test_selections_are_the_first_of_the_largest(block, monkeypatch):
    monkeypatch.setitem(omp_reference._BLOCK, "cpu", block)
    for arguments, scores in selections():
        rows, values, residual, *rest = arguments
        assert_selects(omp_reference.by_gather, arguments, scores)
        matrix = values.new_zeros(len(rows), len(residual)).scatter_(1, rows.long(), values)
        assert_selects(omp_reference.by_product, (matrix, residual, *rest), scores)


def check_triton(device):
    """The kernel's selections, then whole pursuits."""
    from sae_bridge.kernels.omp import triton as omp_triton

    omp_triton._PROGRAMS = 3  # so that a program takes several groups of atoms at these sizes
    for arguments, scores in selections():
        there = [tensor.to(device) for tensor in arguments[:-1]]
        assert_selects(omp_triton.by_gather, (*there, arguments[-1]), scores)
    w = gaussian_dictionary(uniform_mask(20, 40, 3, seed=0), seed=0)
    h = np.random.default_rng(0).standard_normal((12, 20))
    signals = torch.from_numpy(h).to(device)
    for selection in ("magnitude", "signed"):
        found = torch_omp(w, signals, 6, correlation="triton", selection=selection).to_recovery()
        expected = torch_omp(w, signals, 6, correlation="product", selection=selection).to_recovery()
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_allclose(found.coefficients, expected.coefficients, atol=1e-12)


@cuda
@pytest.mark.parametrize("selection", ["magnitude", "nonnegative"])
@pytest.mark.parametrize("family", ["signs", "gaussian", "dense"])
def test_cuda_agrees_with_the_cpu(family, selection):
    w = dictionary_of(family, 128, 512, 7)
    h = torch.from_numpy(planted(w, 10, 300))
    expected = torch_omp(w, h, 10, selection=selection)
    for dtype in (torch.float64, torch.float32):
        for correlation in ("product",) if family == "dense" else ("product", "gather", "auto"):
            signals = h.cuda().to(dtype)
            found = torch_omp(w, signals, 10, selection=selection, correlation=correlation)
            again = torch_omp(w, signals, 10, selection=selection, correlation=correlation)
            assert found.coefficients.is_cuda
            assert torch.equal(found.coefficients, again.coefficients)
            same = (found.indices.cpu() == expected.indices).all(1)
            assert same.all() if dtype == torch.float64 else same.sum() >= 295
            torch.testing.assert_close(found.coefficients.cpu()[same].double(), expected.coefficients[same],
                                       atol=1e-4, rtol=0)  # fmt: skip


def test_the_oracle_of_near_ties_sees_one():
    """Guards the exclusion in :func:`test_agrees_with_the_compiled_omp`."""
    matrix = np.eye(3)
    assert near_tie(matrix, np.array([1.0, 1.0 + 1e-12, 0.5]), [1, 0])
    assert not near_tie(matrix, np.array([1.0, 2.0, 0.5]), oracles.omp(matrix, np.array([1.0, 2.0, 0.5]), 2)[0])
