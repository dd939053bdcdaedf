"""Columns and signals of any size and dtype: what fits float32 comes out right, though neither factor need fit it."""

import numpy as np
import pytest
import torch

from expander_theory import InvalidArgument, gaussian_dictionary, matching_pursuit, omp, sparse_code, topk, uniform_mask
from expander_theory.solvers import SOLVERS
from sae_bridge.pursuits.torch_omp import torch_omp
from sae_bridge.sae.loading import load_sae
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE
from sae_bridge.training._centre import geometric_median

W = gaussian_dictionary(uniform_mask(40, 90, 5, seed=0), seed=1)
X = np.stack([sparse_code(W.n, 4, seed=i) for i in range(6)])
H = W.matvec(X)
SCALES = [(1.0, 1.0), (1e-44, 1e-12), (1e40, 1e37), (1e-46, 1e-38), (1e30, 1e-8), (1e45, 1e30)]


def scaled(columns):
    return type(W)(W.mask, W.values * columns)


@pytest.mark.parametrize(("columns", "signals"), SCALES)
@pytest.mark.parametrize("path", [False, True])
def test_omp_divides_before_it_casts(columns, signals, path):
    h = (H * signals).astype(np.float32)
    found = omp(scaled(columns), h, 4, path=path)
    expected = omp(W, H.astype(np.float32), 4).to_dense().astype(float) * (signals / columns)
    tiny = np.finfo(np.float32).smallest_subnormal
    np.testing.assert_allclose(found.to_dense(), expected, rtol=2e-3, atol=4 * tiny)
    assert found.coefficients.dtype == np.float32
    if path:
        np.testing.assert_allclose(found.path.coefficients[:, 3], found.coefficients, rtol=1e-4, atol=4 * tiny)


@pytest.mark.parametrize(("columns", "signals"), SCALES)
def test_torch_omp_divides_before_it_casts(columns, signals):
    h = (H * signals).astype(np.float32)
    found = torch_omp(scaled(columns), torch.from_numpy(h), 4).to_recovery().to_dense()
    tiny = np.finfo(np.float32).smallest_subnormal
    np.testing.assert_allclose(found, omp(scaled(columns), h, 4).to_dense(), rtol=2e-3, atol=4 * tiny)


@pytest.mark.parametrize("solver", ["ssmp", "l0-decoding", "basis-pursuit"])
@pytest.mark.parametrize(
    ("columns", "signals", "kind"),
    [(1e-50, 1e-20, np.float32), (1e40, 1e20, np.float32), (1e-200, 1e-100, float), (1e200, 1e100, float)],
)
def test_solvers_for_columns_of_any_norm(solver, columns, signals, kind):
    columns, signals = 2.0 ** round(np.log2(columns)), 2.0 ** round(np.log2(signals))  # no digit changes
    expected = SOLVERS[solver](W, H.astype(kind), 4).to_dense()
    found = SOLVERS[solver](scaled(columns), (H * signals).astype(kind), 4).to_dense()
    np.testing.assert_allclose(found.astype(float) * (columns / signals), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [">f8", ">f4", "<f4", np.float16, np.int64, np.uint8, np.longdouble, bool])
def test_signals_of_every_real_dtype_and_byte_order(kind):
    h = (H > 0.3).astype(kind) if kind in (np.uint8, bool) else (np.round(8 * H)).astype(kind)
    single = np.dtype(kind).kind == "f" and np.dtype(kind).itemsize == 4
    native = np.asarray(h, np.float32 if single else np.float64)
    for solve in (omp, topk, matching_pursuit):
        w = W.normalised()
        found, expected = solve(w, h, 4), solve(w, native, 4)
        np.testing.assert_array_equal(found.to_dense(), expected.to_dense())
        assert found.coefficients.dtype == native.dtype
    np.testing.assert_array_equal(W.rmatvec(h), W.rmatvec(native))
    np.testing.assert_array_equal(W.matvec(np.ones(W.n, kind)), W.matvec(np.ones(W.n, native.dtype)))


@pytest.mark.parametrize("kind", [complex, object, "U1", "M8[s]"])
def test_what_is_no_real_number_is_named(kind):
    with pytest.raises(InvalidArgument, match="must be real numbers"):
        omp(W, np.zeros((2, W.m), kind), 2)


def test_values_of_other_dtypes_become_float64():
    for kind in (">f8", np.float16, np.int32):
        made = type(W)(W.mask, np.ones(W.values.shape, kind))
        assert made.dtype == np.float64
        assert made.values.dtype.isnative
    assert type(W)(W.mask, np.ones(W.values.shape, ">f4")).values.dtype == np.dtype("=f4")


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "make", [lambda: ExpanderSAE(W.mask, 4, seed=0), lambda: TopKSAE(40, 90, 4, seed=0)], ids=["expander", "dense"]
)
def test_an_sae_of_16_bits_is_saved_exactly(tmp_path, make, kind):
    sae = make().to(kind)
    sae.save(tmp_path / "sae", {})
    loaded, _ = load_sae(tmp_path / "sae")
    assert loaded.weight.dtype == torch.float32
    for name, value in sae.state_dict().items():
        assert torch.equal(loaded.state_dict()[name].to(value.dtype), value), name
    assert sae.dictionary().n == 90


def test_scales_that_float32_does_not_have_are_named():
    sae = TopKSAE(4, 6, 2)
    for bad in (0.0, -1.0, float("inf"), float("nan"), 1e80, 1e-80):
        with pytest.raises(InvalidArgument, match="mean_square_norm"):
            sae.fit_normalisation(torch.zeros(4), bad)
    sae.fit_normalisation(torch.full((4,), 1e19), 4e38)
    torch.testing.assert_close(sae.b_dec.detach(), torch.ones(4))


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_a_median_of_any_size(size):
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(geometric_median(size * points) / size, geometric_median(points), rtol=1e-4, atol=1e-5)
