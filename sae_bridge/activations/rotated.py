"""The activations of a store in another orthonormal basis."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import require
from sae_bridge.activations.store import ActivationStore


class RotatedStore(ActivationStore):
    """A store whose activations are read as ``basis @ h``; tokens, documents and positions are the same.

    Args:
        store: where they lie.
        basis: orthonormal rows, float (m, m).

    Raises:
        InvalidArgument: a basis of another width, or rows that are not orthonormal to 1e-4.
        InvalidFile: as the store.
    """

    def __init__(self, store: ActivationStore, basis: Tensor) -> None:
        super().__init__(store.folder)
        shape = tuple(basis.shape)
        require(shape == (self.m, self.m), "basis", f"of shape {shape}", f"must have shape ({self.m}, {self.m})")
        apart = float((basis.double() @ basis.double().T - torch.eye(self.m, dtype=torch.float64)).abs().max())
        require(apart < 1e-4, "basis", f"with B B^T - I up to {apart:.2g}", "must have orthonormal rows")
        self.basis = basis.float()
        self.dtype = torch.float32

    @cached_property
    def sha256(self) -> str:
        """Hash of the store's content and of the basis."""
        values = hashlib.sha256(self.basis.contiguous().numpy().tobytes()).hexdigest()
        return hashlib.sha256(f"{ActivationStore(self.folder).sha256} {values}".encode()).hexdigest()

    @property
    def live_sha256(self) -> str:
        """No stream without a store is in this basis."""
        return self.sha256

    def context_rows(self, split: str, contexts: NDArray[np.integer]) -> Tensor:
        """As the store's, float32."""
        return super().context_rows(split, contexts) @ self.basis.T

    def _parts(self, split: str) -> Iterator[Tensor]:
        for part in super()._parts(split):
            yield part.float() @ self.basis.T
