"""One of our SAEs for raw activations: the scale s folded into its biases, as other libraries hold SAEs.

    x = s h - b_dec,  code = act(E x + b_enc),  h_hat = (W code + b_dec) / s

is, with x' = h - b_dec / s and code' = code / s,

    code' = act(E x' + b_enc / s),  h_hat = W code' + b_dec / s,

because act is homogeneous; a threshold becomes threshold / s, and so does the bias of a Gated SAE's magnitudes, whose
r_mag stays. Decoder columns stay unit, which dashboards and feature statistics expect, so that codes, and not columns,
are divided by s.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from expander_theory.base import require
from expander_theory.masks import Mask
from sae_bridge.sae import SparseAutoencoder


@dataclass(frozen=True)
class RawSAE:
    """Tensors on the CPU, in the SAE's dtype.

    Attributes:
        m, n, k: activation width, features, sparsity.
        encoder, weight: rows of E and columns of W, (n, d) on a mask, (n, m) dense; (n - r, d) beside dense columns.
        b_enc, b_dec: (n,) and (m,).
        threshold: () of BatchTopK codes, (n,) of JumpReLU; None for TopK and Gated.
        r_mag, b_mag: (n,) of a Gated SAE, whose gate has ``b_enc``; else None.
        groups: sizes of the prefixes of a Matryoshka SAE; None of others.
        magnitude: whether features are chosen by magnitude and keep their sign.
        mask: the supports; None where dense.
        first: dense columns (r, m) before those of ``weight``, with a tied encoder; None where there are none.
        scale: s, by which the SAE's own codes are larger.
    """

    m: int
    n: int
    k: int
    encoder: Tensor
    weight: Tensor
    b_enc: Tensor
    b_dec: Tensor
    threshold: Tensor | None
    magnitude: bool
    mask: Mask | None
    first: Tensor | None
    scale: float
    r_mag: Tensor | None
    b_mag: Tensor | None
    groups: tuple[int, ...] | None

    def dense(self, values: Tensor) -> Tensor:
        """Stored values as (n, m): zeros outside the mask, and dense columns first."""
        if self.mask is None:
            return values.contiguous()
        rows = torch.from_numpy(self.mask.rows.copy()).long()
        spread = values.new_zeros(len(values), self.m).scatter_(1, rows, values)
        return spread if self.first is None else torch.cat([self.first, spread])


@torch.no_grad()
def in_raw_units(sae: SparseAutoencoder, *, pursuits: bool = False) -> RawSAE:
    """Fold an SAE's scale; divisions are in float64.

    Args:
        pursuits: whether the format has encoders that are pursuits (their b_enc is zero).

    Raises:
        InvalidArgument: NaN or infinite values, a scale that is not positive, or an encoder that the format lacks.
    """
    pursuit = pursuits or sae.pursuit is None
    require(pursuit, "sae.encoder", repr(sae.encoding), "must be one step: of the formats only native has pursuits")
    for name, value in sae.state_dict().items():
        require(bool(torch.isfinite(value).all()), f"sae.{name}", "NaN or infinite", "must be finite")
    scale = float(sae.scale)
    require(scale > 0, "sae.scale", scale, "must be positive")
    steps = sae.pursuit_steps
    require(steps == 1, "sae.pursuit_steps", steps, "must be 1: no other library has encoders of several steps")

    def folded(value: Tensor) -> Tensor:
        return (value.detach().cpu().double() / scale).to(value.dtype)

    threshold = sae.threshold if sae.activation == "batch_topk" else None
    if sae.activation == "jumprelu":
        threshold = sae.thresholds.detach()
        finite = bool(torch.isfinite(threshold).all())
        require(finite, "sae.thresholds", "infinite", "must be finite: exp of a log_threshold overflows")
    return RawSAE(
        sae.m,
        sae.n,
        sae.k,
        encoder=sae.encoder_weight.detach().cpu().clone(),  # files hold no tensor twice, also where it is tied
        weight=sae.weight.detach().cpu(),
        b_enc=folded(sae.b_enc),
        b_dec=folded(sae.b_dec),
        threshold=None if threshold is None else folded(threshold),
        magnitude=sae.selection == "magnitude",
        mask=sae.mask,
        first=None if sae.dense is None else sae.dense.detach().cpu(),
        scale=scale,
        r_mag=None if sae.r_mag is None else sae.r_mag.detach().cpu(),
        b_mag=None if sae.b_mag is None else folded(sae.b_mag),
        groups=sae.groups,
    )
