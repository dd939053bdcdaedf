"""Tied TopK sparse autoencoders: on a mask (:class:`ExpanderSAE`) and dense (:class:`TopKSAE`).

    code = ReLU(TopK_k(W^T (s h - b_dec) + b_enc)),    h_hat = (W code + b_dec) / s

with unit-l2 columns w_j, TopK by value (signed), and a fixed scale s chosen so that E||s h||^2 = m.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from expander_theory.dictionary import AnyDictionary, DenseDictionary, Dictionary
from expander_theory.errors import InvalidFile, require
from expander_theory.files import read_arrays, write_arrays
from expander_theory.masks import Mask
from expander_theory.seeds import derived_seed
from sae_bridge.kernels import backend

KIND, VERSION = "expander-sae", 1


class _Encode(torch.autograd.Function):
    """ReLU of the k largest scores; backward costs O(B k d) and one pass over the weights."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, rows: Tensor | None, k: int
    ) -> tuple[Tensor, Tensor]:
        acts, indices = backend(x).encode(x, weight, rows, bias, k)
        acts = acts.clamp_min(0)
        ctx.save_for_backward(x, weight, bias, rows, acts, indices)
        ctx.mark_non_differentiable(indices)
        return acts, indices

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, bias, rows, acts, indices = ctx.saved_tensors
        g = gradients[0] * (acts > 0)
        loops = backend(x)
        to_x = loops.combine(g, indices, weight, rows, x.shape[1]) if ctx.needs_input_grad[0] else None
        to_weight = loops.accumulate(g, indices, x, weight, rows) if ctx.needs_input_grad[1] else None
        to_bias = torch.zeros_like(bias).index_add_(0, indices.flatten(), g.flatten())
        return to_x, to_weight, to_bias, None, None


class _Decode(torch.autograd.Function):
    """sum_i acts_i w_{indices_i}; backward costs O(B k d) and one pass over the weights."""

    @staticmethod
    def forward(ctx: Any, acts: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None, m: int) -> Tensor:
        ctx.save_for_backward(acts, indices, weight, rows)
        return backend(acts).combine(acts, indices, weight, rows, m)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        acts, indices, weight, rows = ctx.saved_tensors
        g = gradients[0].contiguous()
        loops = backend(acts)
        to_acts = loops.pull(g, indices, weight, rows) if ctx.needs_input_grad[0] else None
        to_weight = loops.accumulate(acts, indices, g, weight, rows) if ctx.needs_input_grad[2] else None
        return to_acts, None, to_weight, None, None


class SparseAutoencoder(nn.Module, ABC):
    """What both architectures share.

    Parameters: ``weight`` (n, d) or (n, m), row j the stored values of column j; ``b_enc`` (n,);
    ``b_dec`` (m,). Buffer: ``scale``, the factor s.
    """

    rows: Tensor | None
    scale: Tensor

    def __init__(self, weight: Tensor, m: int, k: int) -> None:
        super().__init__()
        require(1 <= k <= weight.shape[0], "k", k, f"must be between 1 and n = {weight.shape[0]}")
        self.m, self.k = m, k
        self.weight = nn.Parameter(weight)
        self.b_enc = nn.Parameter(weight.new_zeros(weight.shape[0]))
        self.b_dec = nn.Parameter(weight.new_zeros(m))
        self.register_buffer("scale", weight.new_ones(()))
        self.normalise_columns()

    @property
    def n(self) -> int:
        """Number of features."""
        return self.weight.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.weight.device

    @property
    def decoder_values(self) -> int:
        """Learned decoder values: d n on a mask, m n dense (biases not counted)."""
        return self.weight.numel()

    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of activations h (B, m): acts (B, k), decreasing and >= 0, and feature indices (B, k)."""
        return _Encode.apply(self.scale * h - self.b_dec, self.weight, self.b_enc, self.rows, self.k)  # type: ignore[return-value]

    def decode(self, acts: Tensor, indices: Tensor) -> Tensor:
        """Reconstruction (B, m) in the units of h."""
        combined: Any = _Decode.apply(acts, indices, self.weight, self.rows, self.m)
        return (combined + self.b_dec) / self.scale

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(reconstruction (B, m), acts (B, k), indices (B, k))."""
        acts, indices = self.encode(h)
        return self.decode(acts, indices), acts, indices

    @torch.no_grad()
    def fit_normalisation(self, mean: Tensor, mean_square_norm: float) -> None:
        """Set s so that E||s h||^2 = m, and b_dec to the mean activation.

        Args:
            mean: E h, shape (m,).
            mean_square_norm: E ||h||^2, positive.
        """
        self.scale.fill_((self.m / mean_square_norm) ** 0.5)
        self.b_dec.copy_(self.scale * mean)

    @torch.no_grad()
    def normalise_columns(self) -> None:
        """Scale every column to unit l2 norm."""
        self.weight /= self.weight.norm(dim=1, keepdim=True)

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Remove the radial part of the weight gradient: unit columns move along the sphere."""
        gradient = self.weight.grad
        if gradient is not None:
            gradient -= (gradient * self.weight).sum(dim=1, keepdim=True) * self.weight

    @abstractmethod
    def dictionary(self) -> AnyDictionary:
        """The decoder as an ordinary dictionary (unit columns, float64)."""

    def save(self, path: str | os.PathLike[str], fields: dict[str, Any]) -> None:
        """Save as one hashed safetensors file; ``fields`` (JSON) say how it was trained."""
        arrays = {name: value.detach().cpu().numpy() for name, value in self.state_dict().items() if name != "rows"}
        kept = {"m": self.m, "k": self.k, "training": fields}
        write_arrays(path, KIND, VERSION, {**kept, **self._mask_fields()}, {**arrays, **self._mask_arrays()})

    def _mask_fields(self) -> dict[str, Any]:
        return {"architecture": "dense"}

    def _mask_arrays(self) -> dict[str, np.ndarray]:
        return {}


class TopKSAE(SparseAutoencoder):
    """The dense tied TopK SAE: the reference.

    Args:
        m, n, k: activation width, features, sparsity.
        seed: of the initial weights (Gaussian, then unit columns).

    Raises:
        InvalidArgument: a size out of range.
    """

    rows = None

    def __init__(self, m: int, n: int, k: int, *, seed: int = 0) -> None:
        require(m >= 1, "m", m, "must be at least 1")
        require(n >= 1, "n", n, "must be at least 1")
        super().__init__(_gaussian((n, m), seed), m, k)

    def dictionary(self) -> DenseDictionary:
        return DenseDictionary(self.weight.detach().cpu().double().numpy()).normalised()


class ExpanderSAE(SparseAutoencoder):
    """The tied TopK SAE whose decoder columns live on a mask: d n decoder values.

    Encoding costs O(d n) a token and no m x n matrix is ever formed.

    Args:
        mask: supports of the n columns.
        k: sparsity.
        seed: of the initial weights (Gaussian, then unit columns).

    Raises:
        InvalidArgument: k out of range.
    """

    def __init__(self, mask: Mask, k: int, *, seed: int = 0) -> None:
        super().__init__(_gaussian(mask.rows.shape, seed), mask.m, k)
        self.mask = mask
        self.register_buffer("rows", torch.from_numpy(mask.rows.copy()))

    def dictionary(self) -> Dictionary:
        return Dictionary(self.mask, self.weight.detach().cpu().double().numpy()).normalised()

    def _mask_fields(self) -> dict[str, Any]:
        return {"architecture": "expander", "mask_recipe": self.mask.recipe, "mask_sha256": self.mask.sha256}

    def _mask_arrays(self) -> dict[str, np.ndarray]:
        return {"rows": self.mask.rows}


def load_sae(path: str | os.PathLike[str]) -> tuple[SparseAutoencoder, dict[str, Any]]:
    """An SAE and its training fields, as :meth:`SparseAutoencoder.save` wrote them.

    Raises:
        InvalidFile: missing, truncated, altered, newer than this release, or not an SAE.
    """
    fields, arrays = read_arrays(path, KIND, VERSION)
    sae: SparseAutoencoder
    if fields["architecture"] == "dense":
        sae = TopKSAE(fields["m"], arrays["weight"].shape[0], fields["k"])
    elif fields["architecture"] == "expander":
        sae = ExpanderSAE(Mask(fields["m"], arrays.pop("rows"), fields["mask_recipe"]), fields["k"])
    else:
        raise InvalidFile(path, f"unknown architecture {fields['architecture']!r}")
    stored = {name: torch.from_numpy(value) for name, value in arrays.items()}
    sae.load_state_dict({**sae.state_dict(), **stored})
    return sae, fields["training"]


def _gaussian(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(derived_seed(seed, "initial weights")))
