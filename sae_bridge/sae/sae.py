"""TopK sparse autoencoders: on a mask (:class:`ExpanderSAE`), dense (:class:`TopKSAE`), and with dense columns beside a
mask (:class:`sae_bridge.sae.BlockSAE`).

    code = act(E (s h - b_dec) + b_enc),    h_hat = (W code + b_dec) / s

with unit-l2 columns w_j, E = W^T (tied) or free values on the same support (untied), and a fixed scale s chosen so that
E||s h||^2 = m. ``act`` keeps the k largest scores of a token and then takes ReLU ("signed", the convention of Gao et
al. 2024), or the k largest magnitudes with their signs ("magnitude"); BatchTopK (Bussmann et al. 2024) keeps the B k
largest of a batch of B tokens in training, and in evaluation what exceeds a threshold learned on the way.

Or the encoder is a pursuit: ``code`` is the k-sparse code of s h - b_dec that OMP finds on the decoder itself, with
signs ("omp") or under code >= 0 ("omp_nonnegative"). There are no encoder values then, and no b_enc: the codes are
constants for the gradient, which is right because they are least squares (see :mod:`sae_bridge.sae.pursuit`).
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from expander_theory.base import InvalidArgument, require, require_choice
from expander_theory.dictionaries import AnyDictionary, BlockDictionary, DenseDictionary, Dictionary
from expander_theory.masks import Mask
from sae_bridge.sae import ops
from sae_bridge.sae._initial import initial_weight
from sae_bridge.sae.pursuit import Pursued, Pursuit
from sae_bridge.sae.sae_files import write_sae

Encoder = Literal["tied", "warm", "random", "omp", "omp_nonnegative"]
Activation = Literal["topk", "batch_topk"]
Selection = Literal["signed", "magnitude"]
Encoding = Literal["tied", "untied", "omp", "omp_nonnegative"]

PURSUITS: dict[str, tuple[Pursued, Selection]] = {
    "omp": ("magnitude", "magnitude"),
    "omp_nonnegative": ("nonnegative", "signed"),
}
"""Encoders that are pursuits: how OMP selects atoms, and the selection of such an SAE: whether codes have signs."""

BATCH_TOPK_SHARE = 8
"""BatchTopK gives one token at most this many times k features; the rest of the batch gets them."""
_THRESHOLD_DECAY = 0.99


class SparseAutoencoder(nn.Module, ABC):
    """What all architectures share.

    Parameters: ``weight`` (n, d) or (n, m), row j the stored values of decoder column j; ``encoder`` of the same shape,
    or None where the encoder is tied or a pursuit; ``dense`` (r, m), the first r columns of a :class:`BlockSAE`, whose
    ``weight`` holds the others; ``b_enc`` (n,), zero and not trained where the encoder is a pursuit; ``b_dec`` (m,).
    Buffers: ``scale``, the factor s; ``threshold``,
    what a BatchTopK code must exceed in evaluation.

    Args:
        weight: initial decoder values, scaled to unit columns here.
        m, k: activation width and sparsity.
        encoder: "tied"; "warm": untied, started at W^T; "random": untied, with its own start; "omp" and
            "omp_nonnegative": a pursuit on the decoder.
        start: values of a random encoder.
        activation, selection: see the module; None is "signed", or what the pursuit has: "magnitude" for "omp" and
            "signed" (codes >= 0) for "omp_nonnegative".
        pursuit_steps: rounds in which a code is found, each of k / pursuit_steps features, from what the earlier ones
            left (with the same encoder): 1 is the usual encoder, k is matching pursuit with one atom a step.
        dense: initial values of dense columns before those of ``weight``, or None.

    Raises:
        InvalidArgument: a value out of range.
    """

    rows: Tensor | None
    dense: Tensor | None
    scale: Tensor
    threshold: Tensor
    activation: Activation
    selection: Selection

    def __init__(
        self,
        weight: Tensor,
        m: int,
        k: int,
        encoder: Encoder,
        start: Callable[[], Tensor],
        activation: Activation,
        selection: Selection | None,
        pursuit_steps: int = 1,
        dense: Tensor | None = None,
    ) -> None:
        super().__init__()
        n = len(weight) if dense is None else len(dense) + len(weight)
        require(1 <= k <= n, "k", k, f"must be between 1 and n = {n}")
        require_choice("encoder", encoder, get_args(Encoder))
        require_choice("activation", activation, get_args(Activation))
        selection = resolved_selection(encoder, selection)
        if encoder in PURSUITS:
            limit = min(m, n)
            require(k <= limit, "k", k, f"must be at most min(m, n) = {limit} for the encoder {encoder!r}")
            require(activation == "topk", "activation", repr(activation), f"must be 'topk' for the encoder {encoder!r}")
            require(pursuit_steps == 1, "pursuit_steps", pursuit_steps, f"must be 1 for the encoder {encoder!r}")
        batch_magnitude = activation == "batch_topk" and selection == "magnitude"
        require(not batch_magnitude, "selection", repr(selection), "must be 'signed' for batch_topk")
        stepwise = pursuit_steps >= 1 and k % pursuit_steps == 0 and (pursuit_steps == 1 or activation == "topk")
        require(stepwise, "pursuit_steps", pursuit_steps, f"must divide k = {k}, and be 1 for batch_topk")
        self.m, self.k, self.activation, self.selection = m, k, activation, selection
        self.pursuit_steps = pursuit_steps
        self.weight = nn.Parameter(weight)
        self.dense = None if dense is None else nn.Parameter(dense)
        self.b_enc = nn.Parameter(weight.new_zeros(n))
        self.b_dec = nn.Parameter(weight.new_zeros(m))
        self.register_buffer("scale", weight.new_ones(()))
        self.register_buffer("threshold", weight.new_zeros(()))
        self.normalise_columns()
        self.encoder = None
        self.pursuit = Pursuit(PURSUITS[encoder][0]) if encoder in PURSUITS else None
        self.b_enc.requires_grad_(self.pursuit is None)
        if encoder in ("warm", "random"):
            first = self.weight.detach().clone() if encoder == "warm" else _unit(start())
            self.encoder = nn.Parameter(first)
        self.gather: Callable[[Tensor], Tensor] = _identity
        """How a batch that is split over processes sees all of its BatchTopK scores."""

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
    def encoder_weight(self) -> Tensor:
        """Row j holds the stored values of row j of E; the decoder's where the encoder is tied."""
        return self.weight if self.encoder is None else self.encoder

    def centred(self, h: Tensor) -> Tensor:
        """s h - b_dec, what is coded, shape (B, m)."""
        return torch.addcmul(-self.b_dec, h, self.scale)

    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of centred activations x (B, m): acts (B, K) and feature indices (B, K), zeros are padding.

        K is k, or up to 8 k for BatchTopK. With several pursuit steps a feature may come twice; its acts add up.
        """
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

    def strongest(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k largest scores E x + b_enc of each token, or the largest in magnitude; see :func:`ops.encode`."""
        magnitude = self.selection == "magnitude"
        return ops.encode(x, self.encoder_weight, self.b_enc, self.rows, k, magnitude=magnitude, trusted=True)

    def reconstruction_by(self, features: Tensor, x: Tensor, k: int) -> Tensor:
        """W code of centred activations x (B, m), for one step of the encoder in which only some features compete.

        Args:
            features: which, int64, increasing.
            k: how many of them a token may have.
        """
        # index_select: the gradient of weight[features] would be summed element by element, in one thread.
        encoder, weight, bias = (p.index_select(0, features) for p in (self.encoder_weight, self.weight, self.b_enc))
        rows = None if self.rows is None else self.rows[features]
        magnitude = self.selection == "magnitude"
        acts, indices = ops.encode(x, encoder, bias, rows, k, magnitude=magnitude, trusted=True)
        return ops.decode(acts if magnitude else acts.relu(), indices, weight, rows, self.m, trusted=True)

    def combine(self, acts: Tensor, indices: Tensor, *, trusted: bool = False) -> Tensor:
        """W code, shape (B, m), for scaled activations and without b_dec; see :func:`sae_bridge.sae.ops.decode`."""
        return ops.decode(acts, indices, self.weight, self.rows, self.m, trusted=trusted)

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
        everything = self.gather(acts.detach()).flatten()
        kept = everything.numel() // acts.shape[1] * self.k
        if kept >= everything.numel():
            return everything.new_zeros(())
        return everything.kthvalue(everything.numel() - kept).values

    @torch.no_grad()
    def follow_threshold(self, acts: Tensor) -> None:
        """Move the threshold of evaluation towards the least activation that this training batch kept."""
        if self.activation == "batch_topk":
            everything = self.gather(acts.detach())
            least = everything[everything > 0].min() if bool((everything > 0).any()) else self.threshold
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
        }
        arrays = {name: storable(value) for name, value in self.state_dict().items() if name != "rows"}
        write_sae(folder, configuration, self.mask, arrays, fields)


class TopKSAE(SparseAutoencoder):
    """The dense TopK SAE: the reference.

    Args:
        m, n, k: activation width, features, sparsity.
        seed: of the initial weights (Gaussian, then unit columns).
        encoder, activation, selection, pursuit_steps: see :class:`SparseAutoencoder`.

    Raises:
        InvalidArgument: a size out of range.
    """

    rows = None

    def __init__(
        self,
        m: int,
        n: int,
        k: int,
        *,
        seed: int = 0,
        encoder: Encoder = "tied",
        activation: Activation = "topk",
        selection: Selection | None = None,
        pursuit_steps: int = 1,
    ) -> None:
        require(m >= 1, "m", m, "must be at least 1")
        require(n >= 1, "n", n, "must be at least 1")
        weight = initial_weight(m, n, None, seed=seed, purpose="initial decoder")

        def start() -> Tensor:
            return initial_weight(m, n, None, seed=seed, purpose="initial encoder")

        super().__init__(weight, m, k, encoder, start, activation, selection, pursuit_steps)

    def dictionary(self) -> DenseDictionary:
        return DenseDictionary(self.weight.detach().cpu().double().numpy()).normalised()


class ExpanderSAE(SparseAutoencoder):
    """The TopK SAE whose decoder columns (and encoder rows) live on a mask: d n decoder values.

    Encoding costs O(d n) a token and no m x n matrix is ever formed. Its initial values are those of the dense SAE of
    the same seed at the mask's places, then scaled to unit columns.

    Args:
        mask: supports of the n columns.
        k: sparsity.
        seed: of the initial weights.
        encoder, activation, selection, pursuit_steps: see :class:`SparseAutoencoder`.

    Raises:
        InvalidArgument: k out of range.
    """

    def __init__(
        self,
        mask: Mask,
        k: int,
        *,
        seed: int = 0,
        encoder: Encoder = "tied",
        activation: Activation = "topk",
        selection: Selection | None = None,
        pursuit_steps: int = 1,
    ) -> None:
        self._start(mask, None, k, seed, encoder, activation, selection, pursuit_steps)

    def _start(
        self,
        mask: Mask,
        dense: Tensor | None,
        k: int,
        seed: int,
        encoder: Encoder,
        activation: Activation,
        selection: Selection | None,
        pursuit_steps: int,
    ) -> None:
        first = 0 if dense is None else len(dense)

        def values(purpose: str) -> Tensor:
            return initial_weight(mask.m, mask.n, mask.rows, seed=seed, purpose=purpose, first=first)

        def start() -> Tensor:
            return values("initial encoder")

        weight = values("initial decoder")
        super().__init__(weight, mask.m, k, encoder, start, activation, selection, pursuit_steps, dense)
        self._recipe_of = mask
        self.register_buffer("rows", torch.from_numpy(mask.rows.copy()))

    @property
    def mask(self) -> Mask:
        """The mask of ``rows``, which alone say what it is: a loaded state brings its own."""
        assert self.rows is not None
        rows = self.rows.cpu().numpy()
        if not np.array_equal(rows, self._recipe_of.rows):
            self._recipe_of = Mask(self.m, rows)
        return self._recipe_of

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        rows, errors = state_dict.get(f"{prefix}rows"), args[-1]
        if isinstance(rows, Tensor) and rows.shape == self.weight.shape:
            try:
                Mask(self.m, rows.cpu().numpy())  # the loops believe it
            except InvalidArgument as error:
                errors.append(f"rows are no mask of m = {self.m} rows: {error}")
                return
        super()._load_from_state_dict(state_dict, prefix, *args)

    def dictionary(self) -> Dictionary | BlockDictionary:
        return Dictionary(self.mask, self.weight.detach().cpu().double().numpy()).normalised()


def resolved_selection(encoder: str, selection: Selection | None) -> Selection:
    """How an SAE with this encoder selects, where None leaves it to the encoder.

    Raises:
        InvalidArgument: no selection, or one that the pursuit does not have.
    """
    own = PURSUITS[encoder][1] if encoder in PURSUITS else None
    if selection is None:
        return own or "signed"
    require_choice("selection", selection, get_args(Selection))
    signs = "has signs" if encoder == "omp" else "has codes >= 0"
    require(own in (None, selection), "selection", repr(selection), f"must be {own!r}: the encoder {encoder!r} {signs}")
    return selection


def _unit(weight: Tensor) -> Tensor:
    return weight / torch.linalg.vector_norm(weight, dim=1, keepdim=True)


def storable(value: Tensor) -> np.ndarray[Any, Any]:
    """A parameter as NumPy has it; 16 bits become float32, exactly."""
    here = value.detach().cpu()
    return (here.float() if here.is_floating_point() and here.dtype != torch.float64 else here).numpy()


def _identity(x: Tensor) -> Tensor:
    return x
