"""Codes of a pursuit as a function of the decoder: what a loss other than the reconstruction error has to know.

A pursuit's codes are constants to autograd. For the reconstruction error that is exact (:mod:`sae_bridge.sae.pursuit`):
they minimise it, so that moving them changes nothing to first order. Any other loss of the reconstruction, such as the
KL divergence of a model's output, is not at a minimum in the codes, and its gradient has the term that they carry.
"""

from __future__ import annotations

import torch
from torch import Tensor

from expander_theory.base import require
from sae_bridge.codes._support_fit import atoms_of, solution, tokens_at_a_time
from sae_bridge.pursuits import TensorDictionary
from sae_bridge.sae import SparseAutoencoder


def differentiable_codes(sae: SparseAutoencoder, x: Tensor, acts: Tensor, indices: Tensor) -> Tensor:
    """The codes that a pursuit found, with their derivative in the decoder and in x while supports stay.

    On its support S a code is c = (W_S^T W_S)^-1 W_S^T x. One Newton step from the constant code c0, with a constant
    Gram matrix,

        c = c0 + (W_S^T W_S)^-1 W_S^T (x - W_S c0),

    has this value, because x - W_S c0 is orthogonal to W_S, and for the same reason this derivative. With g the
    gradient of a loss in W_S c and u = (W_S^T W_S)^-1 W_S^T g, its gradient in W_S is

        (g - W_S u) c^T + (x - W_S c) u^T,

    where constant codes give g c^T. Both are equal for g = 2 (W_S c - x), the reconstruction error's, as u is zero
    then. Where W_S is rank deficient (W_S^T W_S)^-1 is the pseudo-inverse. Supports change on a set of measure zero,
    which has no gradient.

    Args:
        sae: with a pursuit as its encoder.
        x: (B, m), what was coded.
        acts, indices: (B, k), its codes of x; zeros are padding, and coefficients that a constraint c >= 0 holds at 0.

    Returns:
        acts (B, k), differentiable; as they are where no gradient is asked for.

    Raises:
        InvalidArgument: an SAE whose encoder is no pursuit: its codes are differentiable as they are.
    """
    require(sae.pursuit is not None, "sae", f"with the encoder {sae.encoding!r}", "must have a pursuit as its encoder")
    if not torch.is_grad_enabled():
        return acts
    zeros = torch.zeros_like(acts).requires_grad_()
    left = x - sae.combine(acts, indices, trusted=True)
    # <w_j, left> of the chosen columns: the gradient of <W a, left> in a, and as differentiable as that
    (target,) = torch.autograd.grad(sae.combine(zeros, indices, trusted=True), zeros, left, create_graph=True)
    active, dictionary = acts != 0, _dictionary(sae)
    size = tokens_at_a_time(acts.shape[1], sae.m)
    parts = zip(target.split(size), active.split(size), indices.split(size), strict=True)
    steps = [_newton_step(dictionary, *part) for part in parts]
    return acts + torch.cat(steps).to(acts.dtype)


def _newton_step(dictionary: TensorDictionary, target: Tensor, active: Tensor, indices: Tensor) -> Tensor:
    atoms = torch.where(active[..., None], atoms_of(dictionary, indices), 0.0)
    step = solution(atoms @ atoms.mT, torch.where(active, target, 0.0).double(), active)
    return torch.where(active, step, 0.0)


def _dictionary(sae: SparseAutoencoder) -> TensorDictionary:
    *dense, values = (part.detach().double() for part in sae.decoder_parts)
    masked = TensorDictionary.trusted(sae.m, values, sae.rows)
    return masked.after(dense[0]) if dense else masked
