"""Codes of activations on a trained decoder by every method: the SAE's encoder, pursuits, least squares."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import require, require_choice
from expander_theory.dictionaries import AnyDictionary, BlockDictionary, DenseDictionary, Dictionary
from expander_theory.solvers import SOLVERS, Prepared, Recovery, omp
from sae_bridge.codes._support_fit import fit_on_support
from sae_bridge.pursuits import TensorDictionary, torch_omp
from sae_bridge.sae import SparseAutoencoder, joined_codes, ops, storable


class Autoencoder(Protocol):
    """What is asked of an SAE, whoever trained it: its decoder is h_hat = (W code + b_dec) / scale."""

    @property
    def m(self) -> int: ...
    @property
    def k(self) -> int: ...
    @property
    def b_dec(self) -> Tensor: ...
    @property
    def scale(self) -> Tensor: ...
    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]: ...
    def decode(self, acts: Tensor, indices: Tensor) -> Tensor: ...
    def dictionary(self) -> AnyDictionary: ...


@dataclass(frozen=True)
class Method:
    """One way to find codes.

    Attributes:
        about: what it does, for tables.
        nonnegative: whether its coefficients are >= 0, as those of a TopK SAE with ReLU are; None: as the encoder's.
    """

    about: str
    nonnegative: bool | None = False


METHODS = {
    "encoder": Method("the SAE's own encoder", None),
    "least_squares": Method("least squares on the encoder's support"),
    "least_squares_nonnegative": Method("the same under c >= 0", True),
    "mp": Method("matching pursuit, k steps"),
    "omp": Method("OMP: largest |w_j^T r|, least squares on all chosen"),
    "omp_signed": Method("OMP: largest w_j^T r, least squares on all chosen (signs free)"),
    "omp_nonnegative": Method("OMP: largest w_j^T r, least squares under c >= 0", True),
    "gomp": Method("generalised OMP, 3 atoms a step, pruned to k"),
    "niht": Method("normalised iterative hard thresholding, at most 100 steps"),
    "cosamp": Method("CoSaMP, at most 10 steps"),
}
"""Methods by name. With free signs the class of codes is larger than that of an encoder with ReLU: such errors bound
what k features can do, and only nonnegative codes are ones that the encoder could have given."""

_SELECTIONS: dict[str, Any] = {"omp": "magnitude", "omp_signed": "signed", "omp_nonnegative": "nonnegative"}
_ON_CPU = ("gomp", "niht", "cosamp")
_LIMITS: dict[str, dict[str, Any]] = {
    "niht": {"max_iterations": 100, "relative_tolerance": 1e-3},
    "cosamp": {"max_iterations": 10, "relative_tolerance": 1e-3},
}
"""On real activations neither converges soon: 500 steps of NIHT lower the FVU by up to 3 % more at five times the cost,
and the FVU of CoSaMP's iterates stays within 1 % from the fifth on."""

DEFAULT_METHODS = ("encoder", "least_squares", "least_squares_nonnegative", "mp", "omp", "omp_nonnegative")
"""Those that take milliseconds a token or less."""


class Coder:
    """Codes for one SAE; what the methods derive from its decoder is kept from call to call.

    Every method codes x = scale h - b_dec, in the SAE's dtype, with at most k features (the encoder: as it does).

    Args:
        sae: see :class:`Autoencoder`; the columns of its decoder may have any norm.
        chunk: tokens at a time, which bounds memory.
        n_jobs: threads of OMP, gOMP, NIHT and CoSaMP on a CPU; -1 for all processors.
        k: features of methods other than the encoder and what keeps its support; None: the SAE's k.

    Raises:
        InvalidArgument: an SAE that does not decode as (W code + b_dec) / scale.
    """

    def __init__(self, sae: Autoencoder, *, chunk: int = 1024, n_jobs: int = -1, k: int | None = None) -> None:
        require(chunk >= 1, "chunk", chunk, "must be at least 1")
        self.sae, self._chunk, self._n_jobs = sae, chunk, n_jobs
        self.k = sae.k if k is None else k
        self._like = sae.b_dec.detach()
        self.dictionary = decoder_of(sae)
        self._require_linear_decoder()

    @torch.no_grad()
    def __call__(self, h: Tensor, method: str) -> tuple[Tensor, Tensor]:
        """Codes of activations, for ``sae.decode``.

        Args:
            h: (B, m) activations, floating.
            method: a name in :data:`METHODS`.

        Returns:
            acts (B, K) and feature indices (B, K) int64 on the SAE's device; zeros are padding. K is k, or the
            encoder's.

        Raises:
            InvalidArgument: another width, a method that is not known.
        """
        require_choice("method", method, tuple(METHODS))
        fits = h.ndim == 2 and h.shape[1] == self.sae.m
        require(fits, "h", f"tensor of shape {tuple(h.shape)}", f"must have shape (B, m = {self.sae.m})")
        return joined_codes(self._codes(part.to(self._like), method) for part in h.split(self._chunk))

    def reconstruction(self, method: str) -> Callable[[Tensor], Tensor]:
        """The map h -> h_hat of a method, in the dtype and on the device of h."""
        return lambda h: self.sae.decode(*self(h, method)).to(h)

    def _codes(self, h: Tensor, method: str) -> tuple[Tensor, Tensor]:
        if method == "encoder":
            return self.sae.encode(h)
        x = h * self.sae.scale - self.sae.b_dec
        if method in _SELECTIONS:
            return self._omp(x, method)
        if method == "mp":
            return self._matching_pursuit(x)
        if method in _ON_CPU:
            return self._on_threads(x, method)
        acts, indices = self.sae.encode(h)
        fitted = fit_on_support(
            self._tensor_dictionary, x, acts, indices, nonnegative=method == "least_squares_nonnegative"
        )
        return fitted, indices

    def _omp(self, x: Tensor, method: str) -> tuple[Tensor, Tensor]:
        selection, k = _SELECTIONS[method], self.k
        # Matrix products are what a dense dictionary is fast with; the plain backend of omp has none.
        products = isinstance(self.dictionary, DenseDictionary) and selection == "nonnegative"
        if x.is_cuda or products:
            found = torch_omp(self._tensor_dictionary, x, k, selection=selection)
            return found.coefficients, found.indices.clamp_min(0)
        return self._tensors(omp(self._prepared, x.cpu().numpy(), k, selection=selection, n_jobs=self._n_jobs), None)

    def _on_threads(self, x: Tensor, method: str) -> tuple[Tensor, Tensor]:
        """Solvers of one thread, on a part of the signals each."""
        jobs = (os.cpu_count() or 1) if self._n_jobs == -1 else self._n_jobs
        unit, options = self._unit, _LIMITS.get(method, {})
        parts = [part for part in np.array_split(x.cpu().numpy(), jobs) if len(part)]
        with ThreadPoolExecutor(jobs) as pool:
            found = list(pool.map(lambda part: SOLVERS[method](unit, part, self.k, **options), parts))
        acts, indices = zip(*(self._tensors(recovery, self._norms) for recovery in found), strict=True)
        return torch.cat(acts), torch.cat(indices)

    def _matching_pursuit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """k times: the coefficient of the atom of largest |w_j^T r| grows by w_j^T r; atoms come back."""
        unit = self._tensor_dictionary.unit
        bias, residual = unit.values.new_zeros(unit.n), x
        acts, indices = x.new_zeros(len(x), self.k), torch.full((len(x), self.k), -1, device=x.device)
        for step in range(self.k):
            score, atom = ops.encode(residual, unit.values, bias, unit.rows, 1, magnitude=True)
            residual = residual - ops.decode(score, atom, unit.values, unit.rows, unit.m, trusted=True)
            again = indices == atom
            place = torch.where(again.any(1), again.int().argmax(1), step)[:, None]
            indices.scatter_(1, place, atom)
            acts.scatter_add_(1, place, score)
        indices.clamp_min_(0)
        return (acts.double() / self._tensor_dictionary.norms[indices]).to(acts), indices

    def _tensors(self, found: Recovery, norms: np.ndarray | None) -> tuple[Tensor, Tensor]:
        indices = np.maximum(found.indices, 0).astype(np.int64)
        acts = found.coefficients if norms is None else found.coefficients / norms[indices]
        return torch.from_numpy(acts).to(self._like), torch.from_numpy(indices).to(self._like.device)

    @cached_property
    def _prepared(self) -> Prepared:
        return Prepared(self.dictionary, self._dtype)

    @cached_property
    def _unit(self) -> AnyDictionary:
        return self.dictionary.normalised().astype(self._dtype)

    @cached_property
    def _norms(self) -> np.ndarray:
        return self.dictionary.column_norms

    @cached_property
    def _tensor_dictionary(self) -> TensorDictionary:
        return TensorDictionary.of(self.dictionary, self._like)

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float64 if self._like.dtype == torch.float64 else np.float32)

    @torch.no_grad()
    def _require_linear_decoder(self) -> None:
        """Codes found on W are only worth something if ``decode`` is the affine map of W, b_dec and scale."""
        n = self.dictionary.n
        acts = torch.linspace(0.5, 2, min(8, n)).to(self._like)
        indices = torch.linspace(0, n - 1, len(acts)).long().to(self._like.device)
        code = np.zeros(n)
        np.add.at(code, indices.cpu().numpy(), acts.double().cpu().numpy())
        expected = (self.dictionary.astype(np.float64).matvec(code) + self._like.double().cpu().numpy()) / float(
            self.sae.scale
        )
        found = self.sae.decode(acts[None], indices[None])[0].double().cpu().numpy()
        agrees = np.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(np.abs(expected).max()))
        require(agrees, "sae", type(self.sae).__name__, "must decode as (W code + b_dec) / scale, W its dictionary()")


def decoder_of(sae: Autoencoder) -> AnyDictionary:
    """The decoder's columns as ``decode`` uses them, not normalised, in the SAE's dtype."""
    if not isinstance(sae, SparseAutoencoder):
        return sae.dictionary()
    parts = [storable(part) for part in sae.decoder_parts]
    if sae.mask is None:
        return DenseDictionary(parts[0])
    masked = Dictionary(sae.mask, parts[-1])
    return masked if len(parts) == 1 else BlockDictionary(DenseDictionary(parts[0]), masked)
