"""The tensors of an SAE of another library, brought into the one form that ours and imported SAEs have:

    z = E (h - b_dec),   code = act(z + b_enc),   h_hat = W code + b_dec

where ``act`` is TopK, or keeps what is positive and above a threshold, or, gated, is H(z + b_enc) ReLU(e^r z + b_mag).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImportedTensors:
    """One SAE.

    Attributes:
        encoder, weight: rows of E and columns of W, (n, m).
        b_enc, b_dec: (n,) and (m,).
        threshold: (n,); None for TopK and gated SAEs.
        r_mag, b_mag: (n,) of a gated SAE, whose gate has ``b_enc``; else None.
    """

    encoder: Tensor
    weight: Tensor
    b_enc: Tensor
    b_dec: Tensor
    threshold: Tensor | None = None
    r_mag: Tensor | None = None
    b_mag: Tensor | None = None

    @property
    def norms(self) -> Tensor:
        """Of the decoder's columns, float64 (n,)."""
        return torch.linalg.vector_norm(self.weight.double(), dim=1)

    def coding_all_of_h(self) -> ImportedTensors:
        """These tensors where b_dec was not subtracted from the input: E h = E (h - b_dec) + E b_dec."""
        own = self.encoder.double() @ self.b_dec.double()
        b_mag = None
        if self.b_mag is not None and self.r_mag is not None:
            b_mag = (self.b_mag.double() + self.r_mag.double().exp() * own).to(self.b_mag.dtype)
        return replace(self, b_enc=(self.b_enc.double() + own).to(self.b_enc.dtype), b_mag=b_mag)

    def with_unit_columns(self) -> ImportedTensors:
        """The norms of the columns moved into the scores, which ``act`` then sees; thresholds stay, which is for scores
        that the other library multiplied by the norms before it compared them. No column may be zero."""
        norms = self.norms
        weight = (self.weight.double() / norms[:, None]).to(self.weight.dtype)
        return self._times(norms, weight)

    def coding_scaled(self, factor: float) -> ImportedTensors:
        """These tensors where factor h was coded and its reconstruction divided by the factor again; codes stay."""
        encoder = (self.encoder.double() * factor).to(self.encoder.dtype)
        weight, b_dec = ((t.double() / factor).to(t.dtype) for t in (self.weight, self.b_dec))
        return replace(self, encoder=encoder, weight=weight, b_dec=b_dec)

    def coding_whitened(self, mean: Tensor, matrix: Tensor, inverse: Tensor) -> ImportedTensors:
        """These tensors where (h - mean) M was coded, in rows, and x_hat M^-1 + mean given; codes stay."""
        encoder = (self.encoder.double() @ matrix.double().T).to(self.encoder.dtype)
        weight = (self.weight.double() @ inverse.double()).to(self.weight.dtype)
        b_dec = (self.b_dec.double() @ inverse.double() + mean.double()).to(self.b_dec.dtype)
        return replace(self, encoder=encoder, weight=weight, b_dec=b_dec)

    def _times(self, norms: Tensor, weight: Tensor) -> ImportedTensors:
        def scaled(value: Tensor) -> Tensor:
            by = norms if value.ndim == 1 else norms[:, None]
            return (value.double() * by).to(value.dtype)

        b_mag = None if self.b_mag is None else scaled(self.b_mag)
        return replace(self, encoder=scaled(self.encoder), weight=weight, b_enc=scaled(self.b_enc), b_mag=b_mag)
