"""Sparse autoencoders: what those with a decoder on a mask (:class:`sae_bridge.sae.ExpanderSAE`), a dense one
(:class:`sae_bridge.sae.TopKSAE`), and dense columns beside a mask (:class:`sae_bridge.sae.BlockSAE`) share.

    code = act(E (s h - b_dec) + b_enc),    h_hat = (W code + b_dec) / s

with unit-l2 columns w_j, E = W^T (tied) or free values on the same support (untied), and a fixed scale s chosen so that
E||s h||^2 = m. ``act`` keeps the k largest scores of a token and then takes ReLU ("signed", the convention of Gao et
al. 2024), or the k largest magnitudes with their signs ("magnitude"); BatchTopK (Bussmann et al. 2024) keeps the B k
largest of a batch of B tokens in training, and in evaluation what exceeds a threshold learned on the way. JumpReLU and
Gated SAEs have a learned threshold for each feature (:mod:`sae_bridge.sae.thresholded`).

Or the encoder is a pursuit: ``code`` is the k-sparse code of s h - b_dec that OMP finds on the decoder itself, with
signs ("omp") or under code >= 0 ("omp_nonnegative"). There are no encoder values then, and no b_enc: the codes are
constants for the gradient, which is right because they are least squares (see :mod:`sae_bridge.sae.pursuit`).
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from expander_theory.base import require
from expander_theory.dictionaries import AnyDictionary
from expander_theory.masks import Mask
from sae_bridge.sae import ops
from sae_bridge.sae.options import (
    BATCH_TOPK_SHARE,
    PURSUITS,
    THRESHOLDED,
    Activation,
    Encoding,
    Options,
    Selection,
)
from sae_bridge.sae.pursuit import Pursuit
from sae_bridge.sae.sae_files import write_sae
from sae_bridge.sae.thresholded import LEAST_THRESHOLD, Thresholded, fit_thresholds, kept_above, thresholded_code

_THRESHOLD_DECAY = 0.99
THRESHOLD_RATE = 5.0
"""What the learning rate of log_threshold is multiplied by: biases drift at the plain rate, and thresholds have to be
faster than they are for L0 to stay where it is steered."""


class SparseAutoencoder(nn.Module, ABC):
    """What all architectures share.

    Parameters: ``weight`` (n, d) or (n, m), row j the stored values of decoder column j; ``encoder`` of the same shape,
    or None where the encoder is tied or a pursuit; ``dense`` (r, m), the first r columns of a :class:`BlockSAE`, whose
    ``weight`` holds the others; ``b_enc`` (n,), zero and not trained where the encoder is a pursuit; ``b_dec`` (m,);
    ``log_threshold`` (n,) of JumpReLU; ``r_mag`` and ``b_mag`` (n,) of Gated, whose gate has ``b_enc``; None elsewhere.
    Buffers: ``scale``, the factor s; ``threshold``, what a BatchTopK code must exceed in evaluation.

    Args:
        weight: initial decoder values, scaled to unit columns here.
        m, k: activation width and sparsity; with "jumprelu" and "gated" the mean number of active features that
            training aims at.
        start: values of a random encoder.
        options: encoder: "tied"; "warm": untied, started at W^T; "random": untied, with its own start; "omp" and
            "omp_nonnegative": a pursuit on the decoder.
            activation: "topk", "batch_topk", "jumprelu" or "gated"; see the module.
            selection: see the module; None is "signed", or what the pursuit has: "magnitude" for "omp" and "signed"
            (codes >= 0) for "omp_nonnegative".
            pursuit_steps: rounds in which a code is found, each of k / pursuit_steps features, from what the earlier
            ones left (with the same encoder): 1 is the usual encoder, k is matching pursuit with one atom a step.
            groups: of a Matryoshka SAE (Bussmann et al. 2025): sizes of the prefixes of features that reconstruct on
            their own, increasing to n. They matter in training alone; codes are those of the activation.
        dense: initial values of dense columns before those of ``weight``, or None.

    Raises:
        InvalidArgument: a value out of range.
    """

    rows: Tensor | None
    dense: Tensor | None
    scale: Tensor
    threshold: Tensor
    log_threshold: nn.Parameter | None
    r_mag: nn.Parameter | None
    b_mag: nn.Parameter | None
    activation: Activation
    selection: Selection
    groups: tuple[int, ...] | None

    def __init__(
        self,
        weight: Tensor,
        m: int,
        k: int,
        start: Callable[[], Tensor],
        options: Options,
        dense: Tensor | None = None,
    ) -> None:
        super().__init__()
        n = len(weight) if dense is None else len(dense) + len(weight)
        self.selection = options.checked(m, n, k)
        self.m, self.k, self.activation = m, k, options.activation
        self.pursuit_steps = options.pursuit_steps
        self.groups = None if options.groups is None else tuple(map(int, options.groups))
        self.weight = nn.Parameter(weight)
        self.dense = None if dense is None else nn.Parameter(dense)
        self.b_enc = nn.Parameter(weight.new_zeros(n))
        self.b_dec = nn.Parameter(weight.new_zeros(m))
        jumps, gates = self.activation == "jumprelu", self.activation == "gated"
        least = math.log(LEAST_THRESHOLD * m**0.5)
        self.log_threshold = nn.Parameter(weight.new_full((n,), least)) if jumps else None
        self.r_mag = nn.Parameter(weight.new_zeros(n)) if gates else None
        self.b_mag = nn.Parameter(weight.new_zeros(n)) if gates else None
        self.register_buffer("scale", weight.new_ones(()))
        self.register_buffer("threshold", weight.new_zeros(()))
        self.normalise_columns()
        self.encoder = None
        self.pursuit = Pursuit(PURSUITS[options.encoder][0]) if options.encoder in PURSUITS else None
        self.b_enc.requires_grad_(self.pursuit is None)
        if options.encoder in ("warm", "random"):
            first = self.weight.detach().clone() if options.encoder == "warm" else _unit(start())
            self.encoder = nn.Parameter(first)
        self.gather: Callable[[Tensor], Tensor] = _identity
        """How a batch that is split over processes sees all of its BatchTopK scores."""
        self.asked = 2 * k
        """How many scores of a token a search for those above thresholds asks for at first: no result depends on it."""

    @property
    def n(self) -> int:
        """Number of features."""
        return len(self.b_enc)

    @property
    def device(self) -> torch.device:
        """The torch device on which the parameters lie."""
        return self.weight.device

    @property
    def decoder_parts(self) -> tuple[Tensor, ...]:
        """The stored values of the decoder's columns, in their order: one tensor, or ``dense`` and ``weight``."""
        return (self.weight,) if self.dense is None else (self.dense, self.weight)

    @property
    def decoder_values(self) -> int:
        """Learned decoder values, the nonzeros: d n on a mask, m n dense (encoder and biases not counted)."""
        return sum(int(part.count_nonzero()) for part in self.decoder_parts)

    @property
    def architecture(self) -> Literal["dense", "expander", "block"]:
        """What the columns of the decoder are: dense, on a mask, or some of each."""
        return "dense" if self.mask is None else "expander" if self.dense is None else "block"

    @property
    def encoding(self) -> Encoding:
        """What the encoder is: "tied", "untied", or the pursuit's name."""
        if self.pursuit is not None:
            return "omp" if self.pursuit.selection == "magnitude" else "omp_nonnegative"
        return "tied" if self.encoder is None else "untied"

    @property
    def thresholds(self) -> Tensor:
        """theta (n,), what a JumpReLU score must exceed, in units of s h.

        Raises:
            InvalidArgument: another activation.
        """
        jumps = self.log_threshold is not None
        require(jumps, "activation", repr(self.activation), "must be 'jumprelu' to have thresholds")
        assert self.log_threshold is not None
        return self.log_threshold.exp()

    @property
    def encoder_weight(self) -> Tensor:
        """Row j holds the stored values of row j of E; the decoder's where the encoder is tied."""
        return self.weight if self.encoder is None else self.encoder

    def centred(self, h: Tensor) -> Tensor:
        """s h - b_dec, what is coded, shape (B, m)."""
        return torch.addcmul(-self.b_dec, h, self.scale)

    def target(self, h: Tensor, x: Tensor) -> Tensor:
        """What W code is compared with, (B, m): the centred activations x themselves, but for a transcoder."""
        return x

    def reconstructed_part(self, h: Tensor) -> Tensor:
        """What of a stream's batch h is reconstructed, (B, m), in its own units: all of it, but for a transcoder."""
        return h

    def fit_input(self, sample: Tensor) -> None:
        """Take from a sample of the stream what :meth:`fit_normalisation` does not; nothing, but for a transcoder."""

    def rate_factors(self) -> dict[str, float]:
        """What the learning rate of a parameter is multiplied by where unit columns move alike at every d, by name; 1
        for the others. See ``scale_rate`` of the recipe. For thresholds see :data:`THRESHOLD_RATE`."""
        factor = math.sqrt(self.m / self.weight.shape[1])
        thresholds = {} if self.log_threshold is None else {"log_threshold": THRESHOLD_RATE}
        return {"weight": factor, "encoder": factor, **thresholds}

    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of centred activations x (B, m): acts (B, K) and feature indices (B, K), zeros are padding.

        K is k; up to 8 k for BatchTopK; for JumpReLU and Gated the largest number of active features in the batch. With
        several pursuit steps a feature may come twice; its acts add up.
        """
        if self.activation in THRESHOLDED:
            acts, indices, _ = self.thresholded(x)
            return acts, indices
        if self.pursuit is not None:
            return self.pursuit(x, self.weight, self.rows, None if x.is_cuda else self.mask, self.k, self.dense)
        if self.pursuit_steps > 1:
            return self._in_steps(x)
        batch_topk = self.activation == "batch_topk"
        most = min(self.n, BATCH_TOPK_SHARE * self.k) if batch_topk else self.k
        acts, indices = self.strongest(x, most)
        if self.selection == "signed":
            acts = acts.relu()
        if batch_topk:
            least = self._batch_threshold(acts) if self.training else self.threshold
            acts = torch.where(acts > least, acts, 0)
        return acts, indices

    def _in_steps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found, left = [], x
        for step in range(self.pursuit_steps):
            acts, indices = self.strongest(left, self.k // self.pursuit_steps)
            acts = acts if self.selection == "magnitude" else acts.relu()
            found.append((acts, indices))
            if step + 1 < self.pursuit_steps:
                left = left - self.combine(acts, indices, trusted=True)
        acts, indices = zip(*found, strict=True)
        return torch.cat(acts, dim=1), torch.cat(indices, dim=1)

    def thresholded(self, x: Tensor, bandwidth: float = 0.0) -> Thresholded:
        """Codes of centred activations x (B, m) by the thresholds of a JumpReLU or Gated SAE.

        Args:
            bandwidth: of JumpReLU's pseudo-derivatives in log_threshold, in units of s h; features up to half of it
                below their threshold are then among the indices, as padding. 0 for codes that are constant in it.

        Raises:
            InvalidArgument: another activation.
        """
        return thresholded_code(self, x, bandwidth)

    def scores_at(self, x: Tensor, indices: Tensor) -> Tensor:
        """E x of chosen features (B, K), differentiable in x and E; see :func:`ops.scores_at`."""
        return ops.scores_at(x, indices, self.encoder_weight, self.rows)

    def strongest(self, x: Tensor, k: int, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The k largest scores E x + bias of each token, or the largest in magnitude; see :func:`ops.encode`.

        Args:
            bias: (n,); b_enc by default.
        """
        magnitude, bias = self.selection == "magnitude", self.b_enc if bias is None else bias
        return ops.encode(x, self.encoder_weight, bias, self.rows, k, magnitude=magnitude, trusted=True)

    def reconstruction_by(self, features: Tensor, x: Tensor, k: int) -> Tensor:
        """W code of centred activations x (B, m), for one step of the encoder in which only some features compete.

        Thresholds are passed over, and so is the gate of a Gated SAE, which has magnitudes ReLU(exp(r_mag) E x + b_mag)
        here: a feature whose gate is never open would have no gradient.

        Args:
            features: which, int64, increasing.
            k: how many of them a token may have.
        """
        # index_select: the gradient of weight[features] would be summed element by element, in one thread.
        encoder, weight = (p.index_select(0, features) for p in (self.encoder_weight, self.weight))
        factors, bias = self._of_magnitudes(features)
        encoder = encoder if factors is None else encoder * factors[:, None]
        rows = None if self.rows is None else self.rows[features]
        magnitude = self.selection == "magnitude"
        acts, indices = ops.encode(x, encoder, bias, rows, k, magnitude=magnitude, trusted=True)
        return ops.decode(acts if magnitude else acts.relu(), indices, weight, rows, self.m, trusted=True)

    def _of_magnitudes(self, features: Tensor) -> tuple[Tensor | None, Tensor]:
        """What scores of features are multiplied by, if by anything, and the biases, where no gate is asked."""
        if self.r_mag is None or self.b_mag is None:
            return None, self.b_enc.index_select(0, features)
        return self.r_mag.index_select(0, features).exp(), self.b_mag.index_select(0, features)

    def combine(self, acts: Tensor, indices: Tensor, *, trusted: bool = False, frozen: bool = False) -> Tensor:
        """W code, shape (B, m), for scaled activations and without b_dec; see :func:`sae_bridge.sae.ops.decode`.

        Args:
            frozen: whether W is a constant for the gradient.
        """
        weight = self.weight.detach() if frozen else self.weight
        return ops.decode(acts, indices, weight, self.rows, self.m, trusted=trusted)

    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of activations h (B, m): acts (B, K), feature indices (B, K) int64."""
        return self.code(self.centred(h))

    def decode(self, acts: Tensor, indices: Tensor, *, trusted: bool = False) -> Tensor:
        """Reconstruction (B, m) in the units of h.

        Args:
            acts: (B, K); zeros are padding.
            indices: features, (B, K) int64 in 0..n-1, padding included.
            trusted: see :func:`sae_bridge.sae.ops.decode`.

        Raises:
            InvalidArgument: shapes that do not fit, or an index that is no feature.
        """
        return (self.combine(acts, indices, trusted=trusted) + self.b_dec) / self.scale

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(reconstruction (B, m), acts (B, K), indices (B, K))."""
        acts, indices = self.encode(h)
        return self.decode(acts, indices, trusted=True), acts, indices

    @torch.no_grad()
    def _batch_threshold(self, acts: Tensor) -> Tensor:
        """What the B k + 1-largest activation of the whole batch is: those above it stay."""
        return kept_above(self.gather(acts.detach()), self.k)

    @torch.no_grad()
    def follow_threshold(self, acts: Tensor) -> None:
        """Move the threshold of evaluation towards the least activation that this training batch kept."""
        if self.activation == "batch_topk":
            everything = self.gather(acts.detach())
            least = everything[everything > 0].min() if bool((everything > 0).any()) else self.threshold
            self.move_threshold(least)

    @torch.no_grad()
    def move_threshold(self, least: Tensor) -> None:
        """Move the threshold of evaluation towards ``least``, at first all the way."""
        first = bool(self.threshold == 0)
        self.threshold.lerp_(least, 1.0 if first else 1 - _THRESHOLD_DECAY)

    @torch.no_grad()
    def fit_normalisation(self, centre: Tensor, mean_square_norm: float) -> None:
        """Set s so that E||s h||^2 = m, and b_dec to the centre of the activations.

        Args:
            centre: mean or geometric median of h, shape (m,).
            mean_square_norm: E ||h||^2, positive.
        """
        scale = (self.m / mean_square_norm) ** 0.5 if 0 < mean_square_norm < math.inf else 0.0
        tiny, huge = torch.finfo(self.scale.dtype).tiny, torch.finfo(self.scale.dtype).max
        allowed = f"must be positive, with a scale sqrt(m / it) that fits {self.scale.dtype}"
        require(tiny <= scale <= huge, "mean_square_norm", mean_square_norm, allowed)
        self.scale.fill_(scale)
        self.b_dec.copy_(scale * centre.double())

    @torch.no_grad()
    def fit_thresholds(self, sample: Tensor, first: float | None = None) -> None:
        """Start the thresholds of JumpReLU or Gated features at one value; nothing for other activations.

        Args:
            sample: activations (N, m), of which the first 4,096 count.
            first: the value, where E||x||^2 = 1 (as in the papers, which start at .001 and, for Gated, at 0); None for
                that with which a token of the sample has k active features on average. From the papers' values it takes
                many more steps than a short run has until L0 comes down.

        Raises:
            InvalidArgument: a value that is no threshold: negative, or 0 for JumpReLU.
        """
        fit_thresholds(self, sample, first)

    @torch.no_grad()
    def normalise_columns(self) -> None:
        """Scale every decoder column to unit l2 norm."""
        for part in self.decoder_parts:
            part /= torch.linalg.vector_norm(part, dim=1, keepdim=True)

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Remove the radial part of the decoder's gradient: unit columns move along the sphere."""
        for part in self.decoder_parts:
            gradient = part.grad
            if gradient is not None:
                radial = torch.linalg.vecdot(gradient, part)
                gradient.addcmul_(radial[:, None], part, value=-1)

    @abstractmethod
    def dictionary(self) -> AnyDictionary:
        """The decoder as an ordinary dictionary (unit columns, float64)."""

    @property
    def mask(self) -> Mask | None:
        """The decoder's mask; None where it is dense."""
        return None

    def save(self, folder: str | os.PathLike[str], fields: dict[str, Any]) -> None:
        """Save as a folder of ``cfg.json`` and safetensors; ``fields`` (JSON) say how it was trained.

        Parameters of 16 bits are stored as float32, which changes none of them.
        """
        configuration, arrays = self.stored()
        write_sae(folder, configuration, self.mask, arrays, fields)

    def stored(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """What it is, as ``cfg.json`` says it, and its arrays but the mask's."""
        configuration = {
            "architecture": self.architecture,
            "m": self.m,
            "n": self.n,
            "d": self.weight.shape[1],
            "k": self.k,
            "encoder": self.encoding,
            "activation": self.activation,
            "selection": self.selection,
            **({"pursuit_steps": self.pursuit_steps} if self.pursuit_steps > 1 else {}),
            **({} if self.dense is None else {"dense_columns": len(self.dense)}),
            **({} if self.groups is None else {"groups": list(self.groups)}),
        }
        return configuration, {name: storable(value) for name, value in self.state_dict().items() if name != "rows"}


def _unit(weight: Tensor) -> Tensor:
    return weight / torch.linalg.vector_norm(weight, dim=1, keepdim=True)


def storable(value: Tensor) -> np.ndarray[Any, Any]:
    """A parameter as NumPy has it; 16 bits become float32, exactly."""
    here = value.detach().cpu()
    return (here.float() if here.is_floating_point() and here.dtype != torch.float64 else here).numpy()


def _identity(x: Tensor) -> Tensor:
    return x
