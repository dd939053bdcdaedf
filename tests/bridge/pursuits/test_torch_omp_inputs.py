"""OMP in torch: batches, scales, devices, columns of any norm, and bad arguments."""

import numpy as np
import pytest
import torch
from support.cases.torch_omp_cases import H, W, dictionary_of, planted

from expander_theory import (
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    gaussian_dictionary,
    omp,
    sign_dictionary,
    uniform_mask,
)
from sae_bridge.kernels.omp import reference as omp_reference
from sae_bridge.pursuits.tensor_dictionary import TensorDictionary
from sae_bridge.pursuits.torch_omp import torch_omp
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Problems this small lose by more, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
