"""SAEs of other libraries as objects of ours: a :class:`TopKSAE` where it means the same, else :class:`ImportedSAE`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from expander_theory.base import InvalidArgument, require
from expander_theory.dictionaries import DenseDictionary
from sae_bridge.sae import TopKSAE, ops

_UNIT = 1e-5
_SCORES = 1 << 23  # held at a time


class ImportedSAE(nn.Module):
    """A dense SAE with thresholds, or with decoder columns of any norm:

        code = act(E (h - b_dec) + b_enc),    h_hat = W code + b_dec

    where ``act`` keeps the k largest scores and takes ReLU, or keeps every positive score above its feature's
    threshold. Columns are left as they are: dividing them by their norms would change which features TopK chooses.
    It has what the evaluation and the inference of our own SAEs ask for, ``scale`` being 1.

    Args:
        encoder, weight: (n, m), rows of E and columns of W.
        b_enc, b_dec: (n,) and (m,).
        k: sparsity; with thresholds the number of features that other methods of inference get, None if unknown.
        threshold: (n,); None for TopK.
        magnitude: TopK by magnitude, with signs.

    Raises:
        InvalidArgument: TopK without k, k out of range.
    """

    rows = None
    encoding: Literal["untied"] = "untied"
    scale: Tensor
    threshold: Tensor

    def __init__(
        self,
        encoder: Tensor,
        weight: Tensor,
        b_enc: Tensor,
        b_dec: Tensor,
        *,
        k: int | None,
        threshold: Tensor | None = None,
        magnitude: bool = False,
    ) -> None:
        super().__init__()
        self.n, self.m = weight.shape
        require(k is not None or threshold is not None, "k", k, "must be given for TopK")
        require(k is None or 1 <= k <= self.n, "k", k, f"must be between 1 and n = {self.n}")
        self._k = k
        self.activation = "topk" if threshold is None else "threshold"
        self.selection = "magnitude" if magnitude else "signed"
        self.encoder, self.weight, self.b_enc, self.b_dec = map(nn.Parameter, (encoder, weight, b_enc, b_dec))
        self.register_buffer("scale", weight.new_ones(()))
        self.register_buffer("threshold", weight.new_zeros(self.n) if threshold is None else threshold)

    @property
    def k(self) -> int:
        """Sparsity.

        Raises:
            InvalidArgument: an SAE with thresholds that came without it.
        """
        if self._k is None:
            raise InvalidArgument(
                "k", None, "this SAE has thresholds and its folder names no k: give it when importing"
            )
        return self._k

    @property
    def device(self) -> torch.device:
        """The torch device on which the parameters lie."""
        return self.weight.device

    @property
    def decoder_values(self) -> int:
        """Learned decoder values, m n."""
        return self.weight.numel()

    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of activations h (B, m): acts (B, K) and feature indices (B, K) int64; zeros are padding.

        K is k for TopK, and the most features that a token has otherwise (at least 1).
        """
        x = h - self.b_dec
        if self.activation == "topk":
            magnitude = self.selection == "magnitude"
            acts, indices = ops.encode(x, self.encoder, self.b_enc, None, self.k, magnitude)
            return (acts if magnitude else acts.relu()), indices
        parts = [self._above(part) for part in x.split(max(1, _SCORES // self.n))]
        width = max(acts.shape[1] for acts, _ in parts)
        padded = ([nn.functional.pad(t, (0, width - t.shape[1])) for t in part] for part in parts)
        acts, indices = zip(*padded, strict=True)
        return torch.cat(acts), torch.cat(indices)

    def _above(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.addmm(self.b_enc, x, self.encoder.T)
        acts = torch.where(scores > self.threshold, scores, 0).relu()
        most = int((acts > 0).sum(dim=1).max()) if len(acts) else 0
        values, indices = acts.topk(max(1, most), dim=1)
        return values, indices

    def decode(self, acts: Tensor, indices: Tensor) -> Tensor:
        """Reconstruction (B, m) in the units of h."""
        return ops.decode(acts, indices, self.weight, None, self.m) + self.b_dec

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(reconstruction (B, m), acts (B, K), indices (B, K))."""
        acts, indices = self.encode(h)
        return self.decode(acts, indices), acts, indices

    def dictionary(self) -> DenseDictionary:
        """The decoder as ``decode`` uses it: columns are not scaled to unit norm.

        Raises:
            InvalidArgument: a zero column.
        """
        return DenseDictionary(self.weight.detach().cpu().double().numpy())


@torch.no_grad()
def imported(
    encoder: Tensor,
    weight: Tensor,
    b_enc: Tensor,
    b_dec: Tensor,
    *,
    k: int | None,
    threshold: Tensor | None = None,
    magnitude: bool = False,
) -> TopKSAE | ImportedSAE:
    """A :class:`TopKSAE` for TopK with unit decoder columns, else an :class:`ImportedSAE`; in evaluation mode.

    Arguments and errors as those of :class:`ImportedSAE`.
    """
    n, m = weight.shape
    norms = torch.linalg.vector_norm(weight.double(), dim=1)
    if threshold is not None or k is None or float((norms - 1).abs().max()) > _UNIT:
        parts = (encoder.contiguous(), weight.contiguous(), b_enc, b_dec)
        return ImportedSAE(*parts, k=k, threshold=threshold, magnitude=magnitude).eval()
    sae = TopKSAE(m, n, k, encoder="warm", selection="magnitude" if magnitude else "signed").to(weight.dtype)
    tensors = {"weight": weight, "encoder": encoder, "b_enc": b_enc, "b_dec": b_dec}
    sae.load_state_dict({**sae.state_dict(), **tensors})
    return sae.eval()
