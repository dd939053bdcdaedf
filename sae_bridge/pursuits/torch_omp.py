"""Orthogonal matching pursuit for batches of signals in torch, on a CPU or a CUDA device."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import InvalidArgument, MissingResource, require, require_choice, require_int
from expander_theory.dictionaries import AnyDictionary
from expander_theory.solvers import Recovery
from sae_bridge.kernels.omp import reference as omp_reference
from sae_bridge.kernels.omp.lockstep import Correlate, DenseAtoms, Limits, MaskedAtoms, pursue
from sae_bridge.pursuits.tensor_dictionary import TensorDictionary, require_floating

Selection = Literal["magnitude", "signed", "nonnegative"]
Correlation = Literal["auto", "product", "gather", "triton"]

_BUDGET = {"cpu": 1 << 24, "cuda": 1 << 31}
"""Bytes of working memory that an automatic batch size aims at: on a CPU what the caches hold."""
_PRODUCT_UP_TO = {"cpu": 32, "cuda": 16}
"""Largest m/d at which a matrix product takes less time than a gather: measured on a CPU; for CUDA the ratio of an
H100's float32 peak without TF32 (30 T multiply-adds a second) to its L2 bandwidth (5.5 TB/s), not measured."""


@dataclass(frozen=True, eq=False)
class TorchRecovery:
    """Codes of a batch of signals, on the signals' device; see :class:`expander_theory.solvers.Recovery`.

    Attributes:
        n: length of a code.
        indices: int64 (batch, k), atoms in the order of selection, -1 where fewer were chosen.
        coefficients: (batch, k), 0 where fewer were chosen.
        steps: int32 (batch,), atoms chosen.
        status: int8 (batch,), a :class:`expander_theory.solvers.RecoveryStatus` per signal.
        residual_norms: (batch,), ||h - W x||_2.
    """

    n: int
    indices: Tensor
    coefficients: Tensor
    steps: Tensor
    status: Tensor
    residual_norms: Tensor

    def to_recovery(self) -> Recovery:
        """This result in numpy arrays."""
        return Recovery(
            self.n,
            self.indices.cpu().numpy().astype(np.int32),
            self.coefficients.cpu().numpy(),
            self.steps.cpu().numpy(),
            self.status.cpu().numpy(),
            self.residual_norms.cpu().numpy(),
        )


@torch.no_grad()
def torch_omp(
    dictionary: AnyDictionary | TensorDictionary,
    signals: Tensor,
    k: int,
    *,
    relative_tolerance: float | None = None,
    selection: Selection = "magnitude",
    batch_size: int | None = None,
    correlation: Correlation = "auto",
) -> TorchRecovery:
    """OMP in torch, as :func:`expander_theory.omp`: k times the best atom not yet chosen, then least squares on all.

    Stops, statuses and the treatment of very large and very small signals are those of ``expander_theory.omp``, and so
    are the atoms, except where rounding decides a near-tie; equal scores go to the lowest index. Everything runs on the
    device and in the dtype of the signals. Signals go in lockstep, in chunks, each of which takes the steps of its
    longest code; a result depends on its chunk in rounding at most. Made for CUDA: on a CPU ``expander_theory.omp`` is
    many times faster. Source: Pati et al. 1993; nonnegative: Bruckstein, Elad and Zibulevsky 2008.

    Args:
        dictionary: columns of any norm: atoms are compared by w_j^T r / ||w_j||, and coefficients are those of the
            columns as given. A :class:`TensorDictionary` is converted once, where a numpy one is in every call.
        signals: float32 or float64 (batch, m) or (m,).
        k: sparsity, 1..min(m, n).
        relative_tolerance: stop at ||r|| <= relative_tolerance ||h||; default 100 machine epsilons.
        selection: "magnitude" takes the largest |w_j^T r|; "signed" the largest w_j^T r, and stops when none is
            positive; "nonnegative" selects like "signed" and keeps all coefficients >= 0 (least squares under that
            constraint, so a chosen atom can have coefficient 0).
        batch_size: signals per chunk; by default as many as take about 2 GiB on CUDA, 16 MiB on a CPU; the dictionary
            is not counted.
        correlation: "product" (W as an n x m matrix), "gather" (from the mask's entries), or "triton" (the latter as
            one kernel, CUDA only; needs triton); "auto": the product where m/d is small, otherwise the best gather.

    Raises:
        InvalidArgument: bad signals, k, tolerance, selection, batch size or correlation.
        MissingResource: triton was asked for and is not installed.
    """
    require_floating("signals", signals)
    shape, m = tuple(signals.shape), dictionary.m
    fits = signals.ndim in (1, 2) and shape[-1] == m
    require(fits, "signals", f"tensor of shape {shape}", f"must have shape (batch, {m}) or ({m},)")
    h = torch.atleast_2d(signals.detach())
    require(bool(h.isfinite().all()), "signals", "tensor with NaN or infinity", "must be finite")
    unit, norms = _unit(dictionary, h)
    k, limit = require_int("k", k), min(unit.m, unit.n)
    require(1 <= k <= limit, "k", k, f"must be an integer between 1 and min(m, n) = {limit}")
    epsilon = torch.finfo(h.dtype).eps
    tolerance = 100 * epsilon if relative_tolerance is None else relative_tolerance
    require(0 <= tolerance < 1, "relative_tolerance", relative_tolerance, "must be in [0, 1)")
    require_choice("selection", selection, get_args(Selection))
    require_choice("correlation", correlation, get_args(Correlation))
    limits = Limits(k, tolerance, 10 * k * epsilon, selection == "magnitude", selection == "nonnegative")
    size = _batch_size(unit, h, limits) if batch_size is None else require_int("batch_size", batch_size)
    require(size >= 1, "batch_size", size, "must be at least 1")
    correlate = _correlate(unit, h, correlation)
    with exact_products():
        chunks = [_chunk(unit, norms, part, correlate, limits) for part in h.split(size)]
    indices, coefficients, *others = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    return TorchRecovery(unit.n, indices, coefficients, *others)


def _unit(dictionary: AnyDictionary | TensorDictionary, h: Tensor) -> tuple[TensorDictionary, Tensor | None]:
    """Unit columns in the dtype of the signals, and the norms (n,), float64, that they had; None if these are all 1.

    Columns are rounded once, after they are divided: as given they may not fit the dtype.
    """
    if not isinstance(dictionary, TensorDictionary):
        wide = torch.float64 if torch.float64 in (h.dtype, _torch_dtype(dictionary)) else torch.float32
        dictionary = TensorDictionary.of(dictionary, h.new_empty(0, dtype=wide))
    elif dictionary.values.dtype == torch.float32:
        dictionary = dictionary.to(h)
    unit = dictionary.unit
    norms = None if unit is dictionary else dictionary.norms.to(h.device)
    return unit.to(h), norms


def _torch_dtype(dictionary: AnyDictionary) -> torch.dtype:
    return torch.float64 if dictionary.dtype == np.float64 else torch.float32


def _chunk(
    unit: TensorDictionary, norms: Tensor | None, h: Tensor, correlate: Correlate, limits: Limits
) -> tuple[Tensor, ...]:
    # Squares of very large or very small signals would overflow or vanish.
    exponents = torch.frexp(h.abs().amax(1, keepdim=True)).exponent
    scaled = _times_power_of_two(h, -exponents)
    if unit.rows is None:
        atoms = DenseAtoms(unit.values, scaled, limits.k)
    else:
        atoms = MaskedAtoms(unit.rows, unit.values, scaled, limits.k)
    found = pursue(atoms, correlate, limits, torch.linalg.vector_norm(scaled, dim=1))
    coefficients, powers = found.coefficients, exponents
    if norms is not None:  # neither norms nor exponents need fit the dtype of the signals alone
        mantissas, shifts = torch.frexp(torch.where(found.indices >= 0, norms[found.indices], 1.0))
        coefficients, powers = coefficients / mantissas, exponents - shifts
    coefficients = _times_power_of_two(coefficients, powers).to(h.dtype)
    residual_norms = _times_power_of_two(found.residual_norms, exponents[:, 0])
    return found.indices, coefficients, found.steps, found.status, residual_norms


def _correlate(dictionary: TensorDictionary, h: Tensor, choice: Correlation) -> Correlate:
    rows, values = dictionary.rows, dictionary.values
    has_triton = importlib.util.find_spec("triton") is not None
    if choice == "auto":
        gather: Correlation = "triton" if h.is_cuda and has_triton else "gather"
        choice = "product" if dictionary.m <= _PRODUCT_UP_TO.get(h.device.type, 1) * dictionary.d else gather
    if choice == "product":
        return partial(omp_reference.by_product, dictionary.to_dense())
    if rows is None:
        raise InvalidArgument("correlation", repr(choice), "must be 'product' for a dense dictionary")
    if choice == "gather":
        return partial(omp_reference.by_gather, rows, values)
    if not has_triton:
        raise MissingResource("triton is not installed: run `pip install triton` (Linux only)")
    runs = h.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"
    require(runs, "correlation", "'triton'", f"needs signals on CUDA; they are on {h.device}")
    from sae_bridge.kernels.omp import triton as omp_triton

    return partial(omp_triton.by_gather, rows, values)


def _batch_size(dictionary: TensorDictionary, h: Tensor, limits: Limits) -> int:
    """Signals whose working memory fits the budget: a multiple of 128, so that the kernel's loads are aligned."""
    k, m, d = limits.k, dictionary.m, dictionary.d
    vectors = 5 * m + k * m if dictionary.rows is None else 5 * m + 3 * k * d
    squares = (8 if limits.nonnegative else 2) * k * k
    each = h.element_size() * (vectors + squares) + 8 * k * (0 if dictionary.rows is None else d) + 24 * k
    size = _BUDGET.get(h.device.type, _BUDGET["cpu"]) // each
    return max(1, size // 128 * 128 or size)


def _times_power_of_two(x: Tensor, exponents: Tensor) -> Tensor:
    """x 2^e, rounded once. Two factors, since one can be out of range; torch.ldexp forms it in float32."""
    kind, bits, bias = (torch.int32, 23, 127) if x.dtype == torch.float32 else (torch.int64, 52, 1023)
    exponents = exponents.clamp(2 - 2 * bias, 2 * bias)  # beyond, all is zero or infinite
    half = exponents.div(2, rounding_mode="floor")
    low, high = (((part + bias).to(kind) << bits).view(x.dtype) for part in (half, exponents - half))
    return x * low * high


@contextmanager
def exact_products() -> Iterator[None]:
    """Float32 products in float32. TF32 and bfloat16 keep 10 and 7 bits: near-ties 1e-3 apart would change places."""
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):  # torch < 2.9
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    backends: Any = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    settings = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, setting in zip(backends, settings, strict=True):
            backend.fp32_precision = setting
