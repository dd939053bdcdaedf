"""The selection step of OMP in torch, in Triton's interpreter and on a CUDA device."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import oracles
from support.cases.torch_omp_cases import H, W, dictionary_of, near_tie, planted

from expander_theory import (
    InvalidArgument,
    gaussian_dictionary,
    uniform_mask,
)
from expander_theory.base.errors import MissingResource
from sae_bridge.kernels.omp import reference as omp_reference
from sae_bridge.pursuits.torch_omp import torch_omp

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Problems this small lose by more, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
    code = "import test_omp_selection_kernels as t; t.check_triton('cpu')"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
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
