"""The nulls of a store of activations: what a code without learning scores there at the same k, beside trained SAEs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from expander_theory.base import require, require_choice, require_int
from expander_theory.masks import Mask
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation.reconstruction import mean_activation
from sae_bridge.sae import Columns, SparseAutoencoder, coordinate_null, mean_null, principal_null, untrained_null

NullKind = Literal["coordinates", "coordinates_nonnegative", "principal", "leading", "untrained", "mean"]
NULL_KINDS: tuple[NullKind, ...] = get_args(NullKind)


@dataclass(frozen=True)
class Null:
    """A code that has learned nothing, or next to nothing.

    Attributes:
        kind: one of :data:`NULL_KINDS`.
        name: in records: "null-k32" is the coordinate null at k = 32, others say their kind, untrained ones their size.
        label: for tables and figures.
        build: makes it, as an SAE.
        learned: values that it takes from data beside the mean.
    """

    kind: NullKind
    name: str
    label: str
    build: Callable[[], SparseAutoencoder]
    learned: int = 0


class Nulls:
    """Makes the nulls of a store; what they take from its training activations is computed once.

    Args:
        store: whose training activations give the mean and the principal directions.
    """

    def __init__(self, store: ActivationStore) -> None:
        self._store = store

    @cached_property
    def mean(self) -> Tensor:
        """Mean of the training activations, float32 (m,)."""
        return mean_activation(self._store, "train").float()

    @cached_property
    def directions(self) -> Tensor:
        """Principal directions of the training activations as unit rows, by decreasing variance, float32 (m, m)."""
        return principal_directions(self._store)

    def at(
        self, k: int, kinds: Sequence[NullKind] = NULL_KINDS, masks: Sequence[Columns] = (), *, seed: int = 0
    ) -> list[Null]:
        """The nulls of k active features.

        Args:
            k: active features; kinds that cannot have so many (k > m) are left out.
            kinds: which.
            masks: of the untrained ones, see :func:`sae_bridge.sae.untrained_null`.
            seed: of the values of untrained ones.

        Raises:
            InvalidArgument: no such kind, k below 1.
        """
        require(require_int("k", k) >= 1, "k", k, "must be at least 1")
        for kind in kinds:
            require_choice("kinds", kind, NULL_KINDS)
        found: list[Null] = []
        for kind in kinds:
            if kind == "untrained":
                found += [self._untrained(mask, k, seed) for mask in masks if _fits(mask, k, self._store.m)]
            elif k <= self._store.m:
                found.append(self._without_mask(kind, k))
        return found

    def _without_mask(self, kind: NullKind, k: int) -> Null:
        m = self._store.m
        if kind == "coordinates":
            return Null(kind, f"null-k{k}", f"coordinate null, k = {k}", lambda: coordinate_null(self.mean, k))
        name = f"null-{kind.replace('_', '-')}-k{k}"
        if kind == "coordinates_nonnegative":
            label = f"positive coordinates, k = {k}"
            return Null(kind, name, label, lambda: coordinate_null(self.mean, k, nonnegative=True))
        if kind == "principal":
            label = f"principal coordinates, k = {k}"
            return Null(kind, name, label, lambda: principal_null(self.mean, self.directions, k), m * m)
        if kind == "leading":
            label = f"first {k} principal coordinates"
            return Null(kind, name, label, lambda: principal_null(self.mean, self.directions, k, leading=True), k * m)
        return Null(kind, name, "mean, no feature", lambda: mean_null(self.mean, k))

    def _untrained(self, columns: Columns, k: int, seed: int) -> Null:
        if isinstance(columns, tuple):
            r, mask = columns
            size, what = f"r{r}-d{mask.d}-n{r + mask.n}", f"{r} dense columns and mask, d = {mask.d}, n = {r + mask.n}"
        elif isinstance(columns, Mask):
            size, what = f"d{columns.d}-n{columns.n}", f"mask, d = {columns.d}, n = {columns.n}"
        else:
            size, what = f"n{columns}", f"dense, n = {columns}"
        label = f"untrained {what}, OMP, k = {k}"
        return Null(
            "untrained", f"null-untrained-{size}-k{k}", label, lambda: untrained_null(self.mean, columns, k, seed=seed)
        )


def _fits(columns: Columns, k: int, m: int) -> bool:
    if isinstance(columns, tuple):
        r, mask = columns
        return k <= min(m, r + mask.n)
    return k <= min(m, columns.n if isinstance(columns, Mask) else columns)


@torch.no_grad()
def principal_directions(store: ActivationStore, batch: int = 4096) -> Tensor:
    """Principal directions of a store's training activations as unit rows, by decreasing variance, float32 (m, m)."""
    mean = mean_activation(store, "train", batch)
    scatter = torch.zeros(store.m, store.m, dtype=torch.float64)
    for part in store.batches("train", batch):
        centred = part.double() - mean
        scatter += centred.T @ centred
    _, vectors = torch.linalg.eigh(scatter)
    return vectors.flip(1).T.float().contiguous()
