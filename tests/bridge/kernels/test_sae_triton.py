"""The loops in Triton: in its interpreter on a CPU, in processes of their own, and for real where there is CUDA."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from expander_theory import uniform_mask
from sae_bridge.kernels import backend, cuda, reference

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
TOLERANCES = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
CHECKS = ["check_encode", "check_ties", "check_overflow", "check_products", "check_padding", "check_gradients"]


@needs_triton
@pytest.mark.parametrize("check", CHECKS)
def test_in_the_interpreter(check):
    code = f"import test_sae_triton as t; t.{check}('cpu')"
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    where = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=where, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_cuda
@needs_triton
@pytest.mark.parametrize("check", CHECKS)
def test_on_cuda(check):
    globals()[check]("cuda")


def case(batch, m, n, d, k, dtype=torch.float32, dense=False, device="cpu"):
    generator = torch.Generator().manual_seed(batch + n)
    rows = None if dense else torch.from_numpy(uniform_mask(m, n, d, seed=1).rows.copy()).to(device)
    draw = [torch.randn(*shape, generator=generator) for shape in ((batch, m), (n, m if dense else d), (n,))]
    x, weight, bias = (tensor.to(dtype).to(device) for tensor in draw)
    return x, weight, rows, bias


def check_encode(device):
    for shape, magnitude in [((5, 12, 30, 3, 4), False), ((17, 40, 300, 7, 9), True), ((3, 6, 20, 2, 20), False)]:
        x, weight, rows, bias = case(*shape, device=device)
        k = shape[4]
        acts, indices = cuda.encode(x, weight, rows, bias, k, magnitude)
        expected, _ = reference.encode(x, weight, rows, bias, k, magnitude)
        assert acts.dtype == x.dtype
        assert indices.dtype == torch.int64
        torch.testing.assert_close(acts, expected, atol=1e-5, rtol=1e-5)
        scores = _scores(x, weight, rows, bias)
        torch.testing.assert_close(scores.gather(1, indices), acts, atol=1e-5, rtol=1e-5)
        assert all(len(set(row.tolist())) == k for row in indices)
    x, weight, rows, bias = case(4, 12, 30, 3, 4, torch.bfloat16, device=device)
    acts, indices = cuda.encode(x, weight, rows, bias, 4)
    assert acts.dtype == torch.bfloat16
    wide = reference.encode(x.float(), weight.float(), rows, bias.float(), 4)
    assert torch.equal(indices, wide[1])  # sums are float32
    torch.testing.assert_close(acts.float(), wide[0], atol=0, rtol=2**-7)  # the interpreter truncates
    acts, indices = cuda.encode(x[:0], weight, rows, bias, 4)
    assert acts.shape == indices.shape == (0, 4)


def check_ties(device):
    """Small integers: most scores are tied; the lower index comes first. NaN is the largest."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.from_numpy(uniform_mask(9, 70, 3, seed=2).rows.copy()).to(device)
    draw = [torch.randint(-2, 3, shape, generator=generator).float() for shape in ((6, 9), (70, 3), (70,))]
    x, weight, bias = (tensor.to(device) for tensor in draw)
    scores = _scores(x, weight, rows, bias)
    for magnitude in (False, True):
        key = scores.abs() if magnitude else scores
        expected = (-key).sort(dim=1, stable=True).indices[:, :12]
        acts, indices = cuda.encode(x, weight, rows, bias, 12, magnitude)
        assert torch.equal(indices, expected)
        assert torch.equal(acts, scores.gather(1, expected))
    x[2] = torch.nan
    acts, _ = cuda.encode(x, weight, rows, bias, 3)
    assert acts[2].isnan().all()
    assert acts[[0, 1, 3, 4, 5]].isfinite().all()


def check_overflow(device):
    """Rising scores in the blocks that the first pass skips: more reach its floor than there is room for."""
    from sae_bridge.kernels._triton_encode import sizes

    tile = sizes(2)
    n = 12 * tile["GROUPS"] * tile["SKIP"] // 4
    bias = torch.zeros(n)
    block = torch.arange(n) // tile["GROUPS"]
    bias[block % tile["SKIP"] != 0] = torch.linspace(1, 2, n)[block % tile["SKIP"] != 0]
    assert int((bias >= 1).sum()) > tile["ROOM"]
    rows = torch.tensor([[0, 1]], dtype=torch.int32).repeat(n, 1)
    x, weight = torch.zeros(2, 3), torch.ones(n, 2)
    acts, indices = cuda.encode(*(tensor.to(device) for tensor in (x, weight, rows, bias)), 2)
    expected = bias.topk(2)
    assert torch.equal(indices.cpu(), expected.indices.expand(2, 2))
    assert torch.equal(acts.cpu(), expected.values.expand(2, 2))


def check_products(device):
    for dtype, tolerance in TOLERANCES.items():
        for dense in (False, True):
            # Columns of more entries than a program takes at a time, once.
            for shape in [(5, 12, 30, 3, 4), (2, 600, 620, 300, 3)][: 2 if dtype == torch.float32 else 1]:
                _, weight, rows, _ = case(*shape, dtype, dense, device)
                for name, arguments in products(shape, dtype, weight, rows, device):
                    found = getattr(cuda, name)(*arguments)
                    wide = [t.float() if torch.is_tensor(t) and t.is_floating_point() else t for t in arguments]
                    expected = getattr(reference, name)(*wide)
                    assert found.dtype == dtype
                    torch.testing.assert_close(found.float(), expected, atol=tolerance * 10, rtol=tolerance, msg=name)


def products(shape, dtype, weight, rows, device):
    batch, m, n, _, k = shape
    generator = torch.Generator().manual_seed(3)
    acts, g = (torch.randn(batch, width, generator=generator).to(dtype).to(device) for width in (k, m))
    indices = torch.stack([torch.randperm(n, generator=generator)[:k] for _ in range(batch)]).to(device)
    acts[:, 1] = 0
    yield "combine", (acts, indices, weight, rows, m)
    yield "pull", (g, indices, weight, rows)
    yield "accumulate", (acts, indices, g, weight, rows)


def check_padding(device):
    """Zeros in acts add nothing, though their features hold NaN; no tokens give zeros."""
    for dense in (False, True):
        _, weight, rows, _ = case(4, 12, 30, 3, 4, dense=dense, device=device)
        weight[7] = torch.nan
        acts = torch.ones(4, 2, device=device)
        acts[:, 1] = 0
        indices = torch.tensor([[2, 7]], device=device).repeat(4, 1)
        assert cuda.combine(acts, indices, weight, rows, 12).isfinite().all()
        g = torch.ones(4, 12, device=device)
        gradient = cuda.accumulate(acts, indices, g, weight, rows)
        assert gradient[2].eq(4).all()
        assert gradient.sum() == gradient[2].sum()
        assert not cuda.accumulate(acts[:0], indices[:0], g[:0], weight, rows).any()
        assert cuda.combine(acts[:0], indices[:0], weight, rows, 12).shape == (0, 12)


def check_gradients(device):
    """A whole SAE: loss and gradients are those of the plain loops."""
    from sae_bridge import kernels
    from sae_bridge.sae.sae import ExpanderSAE, TopKSAE

    h = torch.randn(6, 16, generator=torch.Generator().manual_seed(0)).to(device)
    for sae in (ExpanderSAE(uniform_mask(16, 40, 3, seed=0), 4, seed=1), TopKSAE(16, 40, 4, seed=1, encoder="random")):
        sae.to(device)
        found = []
        for loops in (cuda, reference):
            kernels.backend = lambda tensor, loops=loops: loops
            out, _, _ = sae(h)
            sae.zero_grad()
            (out - h).square().sum().backward()
            found.append([out.detach(), *(p.grad.clone() for p in sae.parameters())])
        kernels.backend = backend
        for ours, expected in zip(*found, strict=True):
            torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
            assert expected.abs().max() > 0


def _scores(x, weight, rows, bias):
    full = torch.zeros(len(weight), x.shape[1], device=x.device).scatter_(1, rows.long(), weight)
    return x @ full.T + bias
