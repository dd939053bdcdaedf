"""SAEs of other libraries as objects of ours: a :class:`TopKSAE` where it means the same, else :class:`ImportedSAE`."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from expander_theory.base import InvalidArgument, require, require_choice
from expander_theory.dictionaries import DenseDictionary
from sae_bridge.interop._parts import ImportedTensors
from sae_bridge.interop._token_norms import NORMALISATIONS, TokenNorms, token_norms
from sae_bridge.sae import TopKSAE, ops

_UNIT = 1e-5
_SCORES = 1 << 23  # held at a time


class ImportedSAE(nn.Module):
    """A dense SAE that none of ours is: with decoder columns of any norm, ReLU, or activations normalised by the token:

        z = E (y - b_dec),    code = act(z + b_enc),    y_hat = W code + b_dec

    where ``act`` keeps the k largest scores and takes ReLU ("topk"), keeps every positive score above its feature's
    threshold ("threshold"), or is H(z + b_enc) ReLU(e^r_mag z + b_mag) ("gated"). y is h, or what
    :mod:`sae_bridge.interop._token_norms` makes of it. Columns are left as they are: dividing them by their norms would
    change which features TopK chooses. It has what the evaluation and the inference of our own SAEs ask for, ``scale``
    being 1.

    Args:
        parts: E (n, m) to b_mag, float32 or float64.
        k: sparsity; with thresholds or a gate the number of features that other methods of inference get, None if
            unknown.
        magnitude: TopK by magnitude, with signs.
        normalisation: of each token: "none", "layer_norm" or "constant_norm_rescale".

    Raises:
        InvalidArgument: TopK without k, k out of range, another normalisation.
    """

    rows = None
    encoding: Literal["untied"] = "untied"
    scale: Tensor
    threshold: Tensor

    def __init__(
        self, parts: ImportedTensors, *, k: int | None, magnitude: bool = False, normalisation: str = "none"
    ) -> None:
        super().__init__()
        self.n, self.m = parts.weight.shape
        topk = parts.threshold is None and parts.r_mag is None
        require(k is not None or not topk, "k", k, "must be given for TopK")
        require(k is None or 1 <= k <= self.n, "k", k, f"must be between 1 and n = {self.n}")
        require_choice("normalisation", normalisation, NORMALISATIONS)
        self._k = k
        self.activation = "topk" if topk else "threshold" if parts.r_mag is None else "gated"
        self.selection = "magnitude" if magnitude else "signed"
        self.normalisation = normalisation
        self.encoder, self.weight, self.b_enc, self.b_dec = (
            nn.Parameter(value.contiguous()) for value in (parts.encoder, parts.weight, parts.b_enc, parts.b_dec)
        )
        self.r_mag = None if parts.r_mag is None else nn.Parameter(parts.r_mag.contiguous())
        self.b_mag = None if parts.b_mag is None else nn.Parameter(parts.b_mag.contiguous())
        none = self.weight.detach().new_zeros(self.n)
        self.register_buffer("scale", self.weight.detach().new_ones(()))
        self.register_buffer("threshold", none if parts.threshold is None else parts.threshold.contiguous())

    @property
    def k(self) -> int:
        """Sparsity.

        Raises:
            InvalidArgument: an SAE with thresholds or a gate that came without it.
        """
        if self._k is None:
            what = "a gate" if self.activation == "gated" else "thresholds"
            raise InvalidArgument("k", None, f"this SAE has {what} and its folder names no k: give it when importing")
        return self._k

    @property
    def device(self) -> torch.device:
        """The torch device on which the parameters lie."""
        return self.weight.device

    @property
    def decoder_values(self) -> int:
        """Learned decoder values, m n."""
        return self.weight.numel()

    @property
    def unlike_ours(self) -> str:
        """What an SAE of this project does not have, in words."""
        norms = torch.linalg.vector_norm(self.weight.detach().double(), dim=1)
        if self.normalisation != "none":
            return f"normalises each token ({self.normalisation})"
        if not _unit(norms):
            return "has decoder columns that are not unit"
        if self.activation == "threshold" and not bool((self.threshold > 0).all()):
            return "has thresholds that are not positive, as ReLU has"
        return "has thresholds or a gate, and no k is known"

    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of activations h (B, m): acts (B, K) and feature indices (B, K) int64; zeros are padding.

        K is k for TopK, and the most features that a token has otherwise (at least 1).

        Raises:
            InvalidArgument: a token that cannot be normalised.
        """
        norms = self._norms(h)
        x = (h if norms is None else norms.normalised(h)) - self.b_dec
        if self.activation == "topk":
            magnitude = self.selection == "magnitude"
            acts, indices = ops.encode(x, self.encoder, self.b_enc, None, self.k, magnitude)
            return (acts if magnitude else acts.relu()), indices
        parts = [self._active(part) for part in x.split(max(1, _SCORES // self.n))]
        width = max(acts.shape[1] for acts, _ in parts)
        padded = ([nn.functional.pad(t, (0, width - t.shape[1])) for t in part] for part in parts)
        acts, indices = zip(*padded, strict=True)
        return torch.cat(acts), torch.cat(indices)

    def _active(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.r_mag is None or self.b_mag is None:
            scores = torch.addmm(self.b_enc, x, self.encoder.T)
            acts = torch.where(scores > self.threshold, scores, 0).relu()
        else:
            z = x @ self.encoder.T
            acts = torch.where(z + self.b_enc > 0, z * self.r_mag.exp() + self.b_mag, 0).relu()
        most = int((acts > 0).sum(dim=1).max()) if len(acts) else 0
        values, indices = acts.topk(max(1, most), dim=1)
        return values, indices

    def decode(self, acts: Tensor, indices: Tensor, *, like: Tensor | None = None) -> Tensor:
        """Reconstruction (B, m) in the units of h.

        Args:
            like: the activations (B, m) that were coded; only an SAE that normalises each token needs them, since the
                codes do not tell by what a token was divided.

        Raises:
            InvalidArgument: an SAE that normalises each token, without ``like``.
        """
        y = ops.decode(acts, indices, self.weight, None, self.m) + self.b_dec
        if self.normalisation == "none":
            return y
        allowed = f"must be given: this SAE normalises each token ({self.normalisation}), and decodes no code alone"
        require(like is not None, "like", like, allowed)
        assert like is not None
        return token_norms(like, self.normalisation).restored(y)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(reconstruction (B, m), acts (B, K), indices (B, K))."""
        acts, indices = self.encode(h)
        return self.decode(acts, indices, like=h), acts, indices

    def dictionary(self) -> DenseDictionary:
        """The decoder as ``decode`` uses it: columns are not scaled to unit norm.

        Raises:
            InvalidArgument: a zero column.
        """
        return DenseDictionary(self.weight.detach().cpu().double().numpy())

    def _norms(self, h: Tensor) -> TokenNorms | None:
        return None if self.normalisation == "none" else token_norms(h, self.normalisation)


class Decoder(Protocol):
    """What is asked of an SAE here."""

    def decode(self, acts: Tensor, indices: Tensor) -> Tensor: ...


def decoded(sae: Decoder, h: Tensor, acts: Tensor, indices: Tensor) -> Tensor:
    """The reconstruction (B, m) of activations h (B, m) from codes of theirs, whatever SAE it is."""
    return sae.decode(acts, indices, like=h) if isinstance(sae, ImportedSAE) else sae.decode(acts, indices)


@torch.no_grad()
def imported(
    parts: ImportedTensors, *, k: int | None, magnitude: bool = False, normalisation: str = "none"
) -> TopKSAE | ImportedSAE:
    """A :class:`TopKSAE` where one means the same, else an :class:`ImportedSAE`; in evaluation mode.

    The same mean TopK, JumpReLU with positive thresholds and Gated SAEs with unit decoder columns and a known k, that
    do not normalise tokens. Arguments and errors as those of :class:`ImportedSAE`.
    """
    n, m = parts.weight.shape
    positive = parts.threshold is None or bool((parts.threshold > 0).all())
    if k is None or not 1 <= k <= n or not positive or normalisation != "none" or not _unit(parts.norms):
        return ImportedSAE(parts, k=k, magnitude=magnitude, normalisation=normalisation).eval()
    how: dict[str, Any] = {"selection": "magnitude" if magnitude else "signed"}
    tensors = {"weight": parts.weight, "encoder": parts.encoder, "b_enc": parts.b_enc, "b_dec": parts.b_dec}
    if parts.threshold is not None:
        how["activation"] = "jumprelu"
        tensors["log_threshold"] = parts.threshold.log()
    if parts.r_mag is not None and parts.b_mag is not None:
        how["activation"] = "gated"
        tensors |= {"r_mag": parts.r_mag, "b_mag": parts.b_mag}
    sae = TopKSAE(m, n, k, encoder="warm", **how).to(parts.weight.dtype)
    sae.load_state_dict({**sae.state_dict(), **tensors})
    return sae.eval()


def _unit(norms: Tensor) -> bool:
    return float((norms - 1).abs().max()) <= _UNIT
