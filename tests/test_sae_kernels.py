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


def test_ties_keep_the_lower_index():
    rows = torch.zeros(6, 1, dtype=torch.int32)
    weight = torch.tensor([[1.0], [2.0], [2.0], [1.0], [2.0], [0.0]])
    _, indices = cpu.encode(torch.ones(20, 1), weight, rows, torch.zeros(6), 4)
    assert (indices == torch.tensor([1, 2, 4, 0])).all()


def test_results_do_not_depend_on_the_number_of_threads():
    x, weight, rows, bias = case(*SHAPES[4], torch.float32, False)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            acts, indices = cpu.encode(x, weight, rows, bias, 6)
            found.append((acts, indices, cpu.accumulate(acts, indices, x, weight, rows)))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a, b)


def test_the_right_loops_are_chosen():
    assert backend(torch.zeros(1)) is cpu
    assert backend(torch.zeros(1, dtype=torch.bfloat16)) is reference
    assert backend(torch.zeros(1, device="meta")) is reference


def test_a_training_step_never_holds_an_m_by_n_matrix():
    """Peak of new memory in forward and backward stays far below one m x n matrix."""
    import tracemalloc

    m, n, d, k, batch = 4096, 8192, 4, 8, 32
    from sae_bridge.sae import ExpanderSAE

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
