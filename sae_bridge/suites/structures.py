"""Structures of a dictionary beside learned supports: coordinates with dense columns, a rotation first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from expander_theory.masks import Mask, save_mask
from expander_theory.results import StructureRecord
from sae_bridge.activations import ActivationStore, RotatedStore, StoredStream
from sae_bridge.evaluation import (
    Bootstrap,
    evaluation_row,
    measure_losses,
    principal_directions,
    reconstruction,
    replacement,
)
from sae_bridge.models import LanguageModel
from sae_bridge.sae import SparseAutoencoder, storage
from sae_bridge.suites.equal_inference import block, learned
from sae_bridge.suites.presets import Setting
from sae_bridge.suites.variants import architecture, by_pursuit
from sae_bridge.training import Training, train

Basis = Literal["", "random", "principal"]


@dataclass(frozen=True)
class Structure:
    """One structure, trained and coded by OMP.

    Attributes:
        name: of its folder.
        label: in tables.
        training: its recipe.
        basis: the activations are rotated first: not, by a random rotation of the recipe's seed, or to their principal
            directions, which take m^2 more values.
        rate_as: the degree whose plain SAE has the learning rate that it takes; None for dense.
    """

    name: str
    label: str
    training: Training
    basis: Basis = ""
    rate_as: int | None = None


def structures(setting: Setting, m: int, folder: Path) -> list[Structure]:
    """Learned supports first; then rotated ones, and dense columns beside coordinates and beside learned supports.

    Args:
        setting: its degree, and the first of its blocks.
        m: width of the activations.
        folder: for the mask of the coordinates.
    """
    base, d = setting.recipe, setting.d
    first = by_pursuit(learned(architecture(base, d)))
    found = [Structure(first.name, first.label, first.training, rate_as=d)]
    rotations: dict[Basis, str] = {"random": "rotated at random", "principal": "principal directions"}
    for basis, label in rotations.items():
        found.append(Structure(f"{first.name}-{basis}", f"{first.label}, {label}", first.training, basis, d))
    for r, degree in setting.equal_inference.blocks[:1]:
        beside = by_pursuit(block(base, r, degree))
        coordinates = folder / f"coordinates-m{m}.safetensors"
        if not coordinates.is_file():
            save_mask(Mask(m, np.arange(m, dtype=np.int32).reshape(m, 1), "coordinates"), coordinates)
        how = replace(base, d=1, n=m + r, mask=coordinates, dense_columns=r, encoder="omp")
        found.append(Structure(f"coordinates-r{r}", f"{r} dense columns, coordinates, OMP", how, rate_as=degree))
        found.append(Structure(beside.name, beside.label, beside.training, rate_as=degree))
    return found


def train_structures(
    chosen: Mapping[str, tuple[Structure, float]],
    store: ActivationStore,
    batch: int,
    order: int,
    folder: Path,
    device: str,
    seed: int,
) -> dict[str, SparseAutoencoder]:
    """Train what is not trained yet; those of one basis share their batches.

    Args:
        chosen: by name, each with its learning rate.
        store: the activations.
        batch, order: rows a batch, and the seed of their order.
        folder: a folder each.
        device: torch device.
        seed: of supports and values.
    """
    trained: dict[str, SparseAutoencoder] = {}
    bases: list[Basis] = [one.basis for one, _ in chosen.values()]
    for basis in dict.fromkeys(bases):
        stream = StoredStream(in_basis(store, basis, seed)[0], batch, order)
        runs = {
            name: replace(one.training, learning_rate=rate, seed=seed)
            for name, (one, rate) in chosen.items()
            if one.basis == basis
        }
        trained |= train(runs, stream, folder, device=device)
    return trained


def in_basis(store: ActivationStore, basis: Basis, seed: int) -> tuple[ActivationStore, Tensor | None]:
    """The store in a basis, and the basis; itself and None without one."""
    if not basis:
        return store, None
    if basis == "principal":
        rows = principal_directions(store)
    else:
        gaussian = np.random.default_rng(seed).standard_normal((store.m, store.m))
        rows = torch.from_numpy(np.linalg.qr(gaussian)[0]).float()
    return RotatedStore(store, rows), rows


def structure_records(
    chosen: Sequence[Structure],
    saes: Mapping[str, SparseAutoencoder],
    model: LanguageModel,
    store: ActivationStore,
    seed: int,
    *,
    positions: Any = "kept",
) -> list[StructureRecord]:
    """Measure them on the same held-out contexts, each against the first."""
    bases = {one.name: in_basis(store, one.basis, seed) for one in chosen}
    changes = {one.name: _in_own_basis(saes[one.name], bases[one.name][1]) for one in chosen}
    losses = measure_losses(changes, model, store, positions=positions)
    bootstrap = Bootstrap(losses.documents)
    first, found = chosen[0].name, []
    for one in chosen:
        name, sae = one.name, saes[one.name]
        kept = reconstruction(sae, bases[name][0], training_tokens=0)
        measured = vars(evaluation_row(name, sae, kept, losses.fidelity(name)))
        learned_rotation = sae.m**2 if one.basis == "principal" else 0
        values = sae.decoder_values - (sae.m if one.training.d == 1 else 0)  # coordinates: a one in each column
        against = (None, None)
        if name != first:
            against = bootstrap.mean(losses.ce[name] - losses.ce[first], losses.predictions)
        found.append(
            StructureRecord(
                **{**measured, "decoder_values": values + learned_rotation},
                label=one.label,
                first="" if name == first else first,
                steps=one.training.steps,
                seed=seed,
                bytes_packed=storage(sae, values)["bytes_packed"] + 2 * learned_rotation,
                activations_sha256=store.sha256,
                ce_by_context=tuple(round(float(ce), 6) for ce in losses.ce[name]),
                ce_above_first=against[0],
                ce_above_first_interval=against[1],
            )
        )
    return found


def _in_own_basis(sae: SparseAutoencoder, basis: Tensor | None) -> Any:
    change = replacement(sae)
    if basis is None:
        return change
    return lambda h: change(h @ basis.T.to(h)) @ basis.to(h)
