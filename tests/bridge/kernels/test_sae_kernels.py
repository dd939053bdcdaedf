import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from expander_theory import uniform_mask
from sae_bridge.kernels import backend, cpu, reference

SHAPES = [(5, 12, 30, 3, 4), (33, 40, 100, 7, 9), (130, 16, 20, 16, 20), (1, 9, 9, 1, 1), (700, 24, 50, 5, 6)]


def case(batch, m, n, d, k, dtype, dense):
    generator = torch.Generator().manual_seed(batch)
    rows = None if dense else torch.from_numpy(uniform_mask(m, n, d, seed=1).rows.copy())
    weight = torch.randn(n, m if dense else d, generator=generator, dtype=dtype)
    x = torch.randn(batch, m, generator=generator, dtype=dtype)
    return x, weight, rows, torch.randn(n, generator=generator, dtype=dtype)


def full(weight, rows, m):
    """The explicit (n, m) decoder."""
    if rows is None:
        return weight
    return torch.zeros(len(weight), m, dtype=weight.dtype).scatter_(1, rows.long(), weight)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loops", [cpu, reference])
def test_loops_agree_with_explicit_matrices(loops, shape, dtype, dense):
    batch, m, n, _, k = shape
    x, weight, rows, bias = case(*shape, dtype, dense)
    w = full(weight, rows, m)
    tolerance = {"atol": 1e-4 if dtype == torch.float32 else 1e-10, "rtol": 1e-4}
    acts, indices = loops.encode(x, weight, rows, bias, k)
    expected, chosen = (x @ w.T + bias).topk(k, dim=1)
    torch.testing.assert_close(acts, expected, **tolerance)
    if dtype == torch.float64:
        assert torch.equal(indices, chosen)
    codes = torch.zeros(batch, n, dtype=dtype).scatter_(1, indices, acts)
    torch.testing.assert_close(loops.combine(acts, indices, weight, rows, m), codes @ w, **tolerance)
    g = torch.randn(batch, m, dtype=dtype, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(loops.pull(g, indices, weight, rows), (g @ w.T).gather(1, indices), **tolerance)
    gradient = codes.T @ g
    if rows is not None:
        gradient = gradient.gather(1, rows.long())
    torch.testing.assert_close(loops.accumulate(acts, indices, g, weight, rows), gradient, **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5, 12, 30, 3, 4), (33, 40, 100, 7, 9), (700, 24, 50, 5, 6)])
@pytest.mark.parametrize("loops", [cpu, reference])
def test_what_a_mask_lacks_is_where_the_dense_gradient_is_largest(loops, shape, dtype, monkeypatch):
    monkeypatch.setattr(reference, "_COLUMNS", 7)  # several blocks, the last one smaller
    batch, m, n, _, k = shape
    x, weight, rows, bias = case(*shape, dtype, False)
    acts, indices = reference.encode(x, weight, rows, bias, k)
    indices = indices.clamp_max(n - 2)  # the last feature never fires
    acts[:, -1] = 0  # padding
    g = torch.randn(batch, m, dtype=dtype, generator=torch.Generator().manual_seed(3))
    found, gained = loops.missing(acts, indices, g, rows, 5)
    gradient = torch.zeros(n, m, dtype=torch.float64)
    for t in range(k):
        gradient.index_add_(0, indices[:, t], acts[:, t, None].double() * g.double())
    off = gradient.abs().scatter(1, rows.long(), -1)
    tolerance = {"atol": 1e-4 if dtype == torch.float32 else 1e-11, "rtol": 1e-4}
    torch.testing.assert_close(gained.double(), gradient.gather(1, found), **tolerance)
    torch.testing.assert_close(gained.double().abs(), off.topk(5, dim=1).values, **tolerance)
    assert not (found[:, :, None] == rows[:, None, :]).any(), "a row of the support"
    assert all(len(set(row)) == 5 for row in found.tolist())
    assert not gained[-1].any()


def oracle(x, weight, rows, bias, k, magnitude):
    """Exact scores and stable order: indices (B, k) and the scores (B, n)."""
    scores = x.double().numpy() @ full(weight, rows, x.shape[1]).double().numpy().T + bias.double().numpy()
    key = np.abs(scores) if magnitude else scores
    return np.argsort(-key, axis=1, kind="stable")[:, :k], scores


@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "shape", [(17, 30, 61, 3, 61), (3, 50, 900, 5, 300), (40, 9, 129, 9, 33), (16, 8, 64, 1, 1), (0, 6, 12, 2, 3)]
)
def test_the_largest_come_in_order_from_integers_with_many_ties(shape, dtype, dense, magnitude):
    """Small integers: scores are exact, most are tied, and so is the k-th largest."""
    batch, m, n, d, k = shape
    generator = torch.Generator().manual_seed(n)
    rows = None if dense else torch.from_numpy(uniform_mask(m, n, d, seed=2).rows.copy())
    x, weight, bias = (
        torch.randint(-2, 3, size, generator=generator).to(dtype) for size in ((batch, m), (n, m if dense else d), (n,))
    )
    expected, scores = oracle(x, weight, rows, bias, k, magnitude)
    acts, indices = cpu.encode(x, weight, rows, bias, k, magnitude)
    assert acts.dtype == dtype
    assert acts.shape == indices.shape == (batch, k)
    np.testing.assert_array_equal(indices.numpy(), expected)
    np.testing.assert_array_equal(acts.numpy(), np.take_along_axis(scores, expected, axis=1))


@pytest.mark.parametrize("order", ["rising", "falling"])
@pytest.mark.parametrize("k", [1, 2, 31, 32, 33, 100, 1024])
def test_many_or_few_of_scores_in_a_bad_order(k, order):
    """Rising scores are all candidates; after falling ones nothing is. Their range is that of the type."""
    n, batch = 2000, 19
    bias = torch.logspace(-30, 30, n) if order == "rising" else torch.linspace(3, -3, n)
    x, weight, rows = torch.zeros(batch, 4), torch.ones(n, 2), torch.tensor([[0, 2]], dtype=torch.int32).repeat(n, 1)
    for w, r in ((weight, rows), (torch.ones(n, 4), None)):
        acts, indices = cpu.encode(x, w, r, bias, k)
        expected = bias.topk(k)
        assert torch.equal(indices, expected.indices.expand(batch, k))
        assert torch.equal(acts, expected.values.expand(batch, k))


def test_ties_keep_the_lower_index():
    rows = torch.zeros(6, 1, dtype=torch.int32)
    weight = torch.tensor([[1.0], [2.0], [2.0], [1.0], [2.0], [0.0]])
    _, indices = cpu.encode(torch.ones(20, 1), weight, rows, torch.zeros(6), 4)
    assert (indices == torch.tensor([1, 2, 4, 0])).all()
    _, indices = cpu.encode(torch.ones(20, 1), weight * torch.tensor([[1.0], [-1]] * 3), rows, torch.zeros(6), 4, True)
    assert (indices == torch.tensor([1, 2, 4, 0])).all()
    signed_zeros = torch.tensor([-0.0, 0.0, -0.0, 0.0, 0.0, -0.0])
    _, indices = cpu.encode(torch.zeros(20, 1), weight, rows, signed_zeros, 4)
    assert (indices == torch.arange(4)).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("magnitude", [False, True])
def test_a_token_that_is_not_finite_shows_and_harms_no_other(magnitude, dense, bad):
    x, weight, rows, bias = case(21, 12, 300, 3, 5, torch.float32, dense)
    clean = cpu.encode(x, weight, rows, bias, 5, magnitude)
    x = x.clone()
    x[[2, 20], 7] = bad  # row 7 is in some of the 300 columns with both signs
    x[11] = bad
    acts, indices = cpu.encode(x, weight, rows, bias, 5, magnitude)
    touched = [2, 11, 20]
    assert not acts[touched].isfinite().any()
    assert acts[11].isnan().all() or bad != bad or not dense
    others = [b for b in range(21) if b not in touched]
    assert torch.equal(acts[others], clean[0][others])
    assert torch.equal(indices[others], clean[1][others])
    assert all(len(set(row.tolist())) == 5 for row in indices)
    assert indices.min() >= 0
    assert indices.max() < 300


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_nan_of_either_sign_in_one_weight_shows_in_every_token(sign):
    x, weight, rows, bias = case(18, 12, 200, 3, 5, torch.float32, False)
    weight[150, 1] = torch.copysign(torch.tensor(float("nan")), torch.tensor(sign))
    acts, indices = cpu.encode(x, weight, rows, bias, 4)
    assert acts[:, 0].isnan().all()
    assert (indices[:, 0] == 150).all()
    assert acts[:, 1:].isfinite().all()


def test_scores_of_minus_infinity_fill_the_end():
    x, weight, rows, _ = case(18, 12, 200, 3, 5, torch.float32, False)
    bias = torch.full((200,), -float("inf"))
    bias[[50, 60]] = 0.0
    acts, indices = cpu.encode(x, weight, rows, bias, 4)
    assert (indices[:, :2].sort(dim=1).values == torch.tensor([50, 60])).all()
    assert (indices[:, 2:] == torch.tensor([0, 1])).all()
    assert (acts[:, 2:] == -float("inf")).all()


@pytest.mark.parametrize("dense", [False, True])
def test_zeros_in_the_codes_are_padding(dense):
    x, weight, rows, _ = case(9, 12, 30, 4, 3, torch.float64, dense)
    acts, indices = torch.randn(9, 3, dtype=torch.float64), torch.randint(0, 30, (9, 3))
    padded = torch.cat([torch.zeros(9, 1), acts, torch.zeros(9, 2)], dim=1).double()
    places = torch.cat([indices[:, :1], indices, torch.zeros(9, 2)], dim=1).long()
    found = cpu.combine(padded, places, weight, rows, 12)
    torch.testing.assert_close(found, cpu.combine(acts, indices, weight, rows, 12))
    found = cpu.accumulate(padded, places, x, weight, rows)
    torch.testing.assert_close(found, cpu.accumulate(acts, indices, x, weight, rows))


@pytest.mark.parametrize("dense", [False, True])
def test_loops_take_no_tokens_and_strided_arrays(dense):
    x, weight, rows, bias = case(6, 12, 30, 4, 3, torch.float32, dense)
    acts, indices = cpu.encode(x[:0], weight, rows, bias, 3)
    assert cpu.combine(acts, indices, weight, rows, 12).shape == (0, 12)
    assert cpu.pull(x[:0], indices, weight, rows).shape == (0, 3)
    assert not cpu.accumulate(acts, indices, x[:0], weight, rows).any()
    strided = x.repeat_interleave(2, dim=1)[:, ::2]
    wide = None if rows is None else rows.long().T.contiguous().T
    acts, indices = cpu.encode(x, weight, rows, bias, 3)
    found, chosen = cpu.encode(strided, weight.T.contiguous().T, wide, bias, 3)
    assert torch.equal(chosen, indices)
    torch.testing.assert_close(found, acts)  # a product of another layout rounds otherwise
    turned = acts.T.contiguous().T, indices.T.contiguous().T
    assert torch.equal(cpu.combine(*turned, weight, wide, 12), cpu.combine(acts, indices, weight, rows, 12))
    assert torch.equal(cpu.pull(strided, turned[1], weight, wide), cpu.pull(x, indices, weight, rows))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_do_not_depend_on_the_number_of_threads(dtype):
    batch, m, n, d, k = SHAPES[4]
    x, weight, rows, bias = case(batch, m, n, d, k, dtype, False)
    whole = torch.randn(n, m, dtype=dtype, generator=torch.Generator().manual_seed(3))
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            acts, indices = cpu.encode(x, weight, rows, bias, k)
            results = [acts, indices]
            for w, r in ((weight, rows), (whole, None)):
                results += [cpu.combine(acts, indices, w, r, m), cpu.pull(x, indices, w, r)]
                results.append(cpu.accumulate(acts, indices, x, w, r))
            found.append(results)
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a, b)


def test_a_token_does_not_depend_on_its_batch():
    x, weight, rows, bias = case(40, 33, 300, 5, 6, torch.float32, False)
    acts, indices = cpu.encode(x, weight, rows, bias, 6)
    for b in (0, 15, 16, 39):
        alone = cpu.encode(x[b : b + 1], weight, rows, bias, 6)
        assert torch.equal(alone[0], acts[b : b + 1])
        assert torch.equal(alone[1], indices[b : b + 1])


def test_loops_agree_without_the_jit():
    """The same loops run by Python, where a wrong index raises instead of reading beyond an array."""
    code = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[2])!r}]
import numpy, torch
import test_sae_kernels as t
numpy.seterr(over="raise")
torch.set_num_threads(1)
for dense in (False, True):
    for dtype in (torch.float32, torch.float64):
        for magnitude in (False, True):
            t.test_the_largest_come_in_order_from_integers_with_many_ties((18, 9, 70, 3, 9), dtype, dense, magnitude)
        t.test_loops_agree_with_explicit_matrices(t.cpu, (18, 11, 70, 3, 6), dtype, dense)
    t.test_a_token_that_is_not_finite_shows_and_harms_no_other(False, dense, float("nan"))
t.test_many_or_few_of_scores_in_a_bad_order(70, "rising")
"""
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", code]
    done = subprocess.run(command, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_right_loops_are_chosen():
    assert backend(torch.zeros(1)) is cpu
    assert backend(torch.zeros(1, dtype=torch.bfloat16)) is reference
    assert backend(torch.zeros(1, device="meta")) is reference


def test_a_training_step_never_holds_an_m_by_n_matrix():
    """Peak of new memory in forward and backward stays far below one m x n matrix."""
    import tracemalloc

    m, n, d, k, batch = 4096, 8192, 4, 8, 32
    from sae_bridge.sae.sae import ExpanderSAE

    sae = ExpanderSAE(uniform_mask(m, n, d, seed=0), k)
    h = torch.randn(batch, m)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in torch.utils._pytree.tree_leaves(out) if isinstance(t, torch.Tensor))
            return out

    tracemalloc.start()  # numpy's allocations are traced
    with Watch():
        reconstruction, _, _ = sae(h)
        (reconstruction - h).square().sum().backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(sizes) <= batch * m
    assert peak < m * n  # bytes: a quarter of an m x n float32 matrix
    assert np.isfinite(float(reconstruction.detach().sum()))
