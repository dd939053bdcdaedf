"""OMP for a chunk of signals in lockstep: no loop over signals, and the host waits for the device every few steps only.

With U upper triangular such that the columns of W_S U are orthonormal, a new atom w with overlaps g = W_S^T w has
v = U^T g, squared distance rho^2 = ||w||^2 - ||v||^2 from span W_S, and the new column of U is (-U v, 1) / rho. The
coefficients move by (w^T r / rho) times that column, and r = h - W_S c is formed anew at every step, so that errors do
not accumulate. A step costs the selection, O(t^2) and the t stored columns. A signal that has stopped gets a zero
column of U: nothing of it changes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from expander_theory.solvers import RecoveryStatus
from sae_bridge.kernels.omp.nonnegative import nonnegative_least_squares, solve_on

Correlate = Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor]]
"""(residual (m, B), chosen (t, B), magnitude) -> (score, atom): :mod:`sae_bridge.kernels.reference`."""

_STEPS_BETWEEN_CHECKS = 8


@dataclass(frozen=True)
class Limits:
    """When to stop, what to select, and whether coefficients must be nonnegative."""

    k: int
    relative_tolerance: float
    pivot_tolerance: float
    magnitude: bool
    nonnegative: bool


class Atoms(Protocol):
    """The signals, their residuals, and the atoms chosen so far."""

    signal: Tensor

    @property
    def columns(self) -> Tensor:
        """The residuals as columns, (m, B)."""
        ...

    def add(self, t: int, atom: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Store w_atom in slot t; returns W_S^T w (B, t), ||w||^2, w^T r and w^T h, (B,) each."""
        ...

    def pull(self, count: int) -> Tensor:
        """W_S^T r, (B, count)."""
        ...

    def subtract(self, coefficients: Tensor) -> Tensor:
        """Residual = signal - W_S c for c (B, count); returns its norms (B,)."""
        ...


class MaskedAtoms:
    """Atoms of d entries. Signals are columns, (m, B); stored atoms (k, d, B)."""

    def __init__(self, rows: Tensor, values: Tensor, signals: Tensor, k: int) -> None:
        batch, d = len(signals), rows.shape[1]
        self.dictionary = rows, values
        self.signal = signals.T.contiguous()
        self.residual = self.signal.clone()
        self.scratch = torch.zeros_like(self.signal)
        self.rows = torch.empty(k, d, batch, dtype=torch.int64, device=signals.device)
        self.values = signals.new_empty(k, d, batch)

    @property
    def columns(self) -> Tensor:
        return self.residual

    def add(self, t: int, atom: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.rows[t] = self.dictionary[0][atom].T
        self.values[t] = self.dictionary[1][atom].T
        rows, values = self.rows[t], self.values[t]
        self.scratch.scatter_(0, rows, values)
        overlaps = self._products(self.scratch, slice(t))
        self.scratch.scatter_(0, rows, 0.0)
        new = slice(t, t + 1)
        products = [self._products(vector, new)[:, 0] for vector in (self.residual, self.signal)]
        return overlaps, values.square().sum(0), products[0], products[1]

    def pull(self, count: int) -> Tensor:
        return self._products(self.residual, slice(count))

    def subtract(self, coefficients: Tensor) -> Tensor:
        self.residual.copy_(self.signal)
        for t in range(coefficients.shape[1]):
            # One atom at a time: its rows are distinct, so the order of the sums does not depend on the device.
            self.residual.scatter_add_(0, self.rows[t], self.values[t] * -coefficients[:, t])
        return torch.linalg.vector_norm(self.residual, dim=0)

    def _products(self, vectors: Tensor, slots: slice) -> Tensor:
        rows, values = self.rows[slots], self.values[slots]
        return (vectors.gather(0, rows.flatten(0, 1)).view(values.shape) * values).sum(1).T


class DenseAtoms:
    """Atoms of m entries. Signals are rows, (B, m); stored atoms (B, k, m)."""

    def __init__(self, values: Tensor, signals: Tensor, k: int) -> None:
        self.dictionary = values
        self.signal = signals
        self.residual = signals.clone()
        self.values = signals.new_empty(len(signals), k, signals.shape[1])

    @property
    def columns(self) -> Tensor:
        return self.residual.T

    def add(self, t: int, atom: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        new = self.dictionary[atom]
        self.values[:, t] = new
        overlaps = torch.bmm(self.values[:, :t], new[:, :, None])[:, :, 0]
        return overlaps, new.square().sum(1), (new * self.residual).sum(1), (new * self.signal).sum(1)

    def pull(self, count: int) -> Tensor:
        return torch.bmm(self.values[:, :count], self.residual[:, :, None])[:, :, 0]

    def subtract(self, coefficients: Tensor) -> Tensor:
        combined = torch.bmm(coefficients[:, None], self.values[:, : coefficients.shape[1]])[:, 0]
        torch.sub(self.signal, combined, out=self.residual)
        return torch.linalg.vector_norm(self.residual, dim=1)


@dataclass(frozen=True)
class Found:
    """One entry a signal: see :class:`sae_bridge.pursuits.torch_omp.TorchRecovery`; ``indices`` (B, k)."""

    indices: Tensor
    coefficients: Tensor
    steps: Tensor
    status: Tensor
    residual_norms: Tensor


def pursue(atoms: Atoms, correlate: Correlate, limits: Limits, norms: Tensor) -> Found:
    """OMP on all signals of ``atoms``; ``norms`` (B,) are their l2 norms."""
    k, batch, like = limits.k, len(norms), atoms.signal
    lower = like.new_zeros(batch, k, k)  # U^T: row t is column t of U
    coefficients = like.new_zeros(batch, k)
    fit = _NonnegativeFit(like, batch, k) if limits.nonnegative else None
    chosen = torch.full((k, batch), -1, dtype=torch.int64, device=like.device)
    status = torch.full((batch,), RecoveryStatus.SPARSITY_REACHED, dtype=torch.int8, device=like.device)
    left, floor = norms, limits.relative_tolerance * norms
    active = left > floor
    used = 0
    for t in range(k):
        if t % _STEPS_BETWEEN_CHECKS == 0 and not active.any():
            break
        # Select: the atom of largest correlation outside the support.
        score, atom = correlate(atoms.columns, chosen[:t], limits.magnitude)
        active = _stop(active, score > 0, status, RecoveryStatus.NO_CORRELATION)
        # Orthogonalise against the support: v = U^T g, and the squared distance of w from the span.
        overlaps, norm2, with_residual, with_signal = atoms.add(t, atom)
        v = torch.bmm(lower[:, :t, :t], overlaps[:, :, None])
        pivot = norm2 - v.square().sum((1, 2))
        active = _stop(active, pivot > limits.pivot_tolerance, status, RecoveryStatus.DEPENDENT_ATOM)
        # Append the column (-U v, 1) / rho to U, or zeros for a signal that has stopped.
        scale = torch.where(active, torch.where(active, pivot, 1.0).rsqrt(), 0.0)
        lower[:, t, :t] = -scale[:, None] * torch.bmm(v.mT, lower[:, :t, :t])[:, 0]
        lower[:, t, t] = scale
        chosen[t] = torch.where(active, atom, -1)
        used = t + 1
        # Move all coefficients along it; with c >= 0 solve the small problem anew, from the code of the step before.
        if fit is None:
            coefficients[:, :used] += (with_residual * scale)[:, None] * lower[:, t, :used]
        else:
            fit.add(t, overlaps, norm2, with_signal)
            coefficients[:, :used] = fit.solve(coefficients[:, :used], chosen[:used].T >= 0, active)
        # The residual from the signal itself, and its norm against the tolerance.
        left = atoms.subtract(coefficients[:, :used])
        active = active & (left > floor)
    status.masked_fill_(left <= floor, RecoveryStatus.RESIDUAL_SMALL)
    # One step of iterative refinement: c += U U^T W_S^T r, or G^{-1} W_S^T r on the positive coefficients.
    if used:
        refined, rest = coefficients[:, :used], atoms.pull(used)
        if fit is None:
            refined += torch.bmm(torch.bmm(lower[:, :used, :used], rest[:, :, None]).mT, lower[:, :used, :used])[:, 0]
        else:
            refined.copy_((refined + solve_on(refined > 0, fit.gram[:, :used, :used], rest)).clamp_min(0))
        left = atoms.subtract(refined)
    steps = (chosen >= 0).sum(0, dtype=torch.int32)
    return Found(chosen.T.contiguous(), coefficients, steps, status, left)


def _stop(active: Tensor, going: Tensor, status: Tensor, reason: RecoveryStatus) -> Tensor:
    """The signals that go on; those that stop get their reason."""
    status.masked_fill_(active & ~going, reason)
    return active & going


class _NonnegativeFit:
    """G_S and W_S^T h, grown by one atom a step."""

    def __init__(self, like: Tensor, batch: int, k: int) -> None:
        self.gram = like.new_zeros(batch, k, k)
        self.target = like.new_zeros(batch, k)

    def add(self, t: int, overlaps: Tensor, norm2: Tensor, with_signal: Tensor) -> None:
        self.gram[:, t, :t] = overlaps
        self.gram[:, :t, t] = overlaps
        self.gram[:, t, t] = norm2
        self.target[:, t] = with_signal

    def solve(self, start: Tensor, allowed: Tensor, active: Tensor) -> Tensor:
        t = start.shape[1]
        found = nonnegative_least_squares(self.gram[:, :t, :t], self.target[:, :t], start, allowed)
        return torch.where(active[:, None], found, start)
