"""The activations of two places of one harvest, or of several layers' pairs of places, side by side."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import InvalidFile, require
from expander_theory.results import read_json, typed
from sae_bridge.activations import SPLITS, ActivationStore

_SAME = ("model_fingerprint", "context", "contexts", "tokens_sha256")


class PairedStore(ActivationStore):
    """A store whose rows are [h_in | h_out], (m_in + m_out,), at the positions that count at all places.

    Contexts, tokens, documents and policy are those of all stores; the policy's limit of the norm is each place's own,
    so that a position may count at one and not at the other: it is left out. ``description`` is that of the first
    output, which is where what a transcoder gives is put. For a cross-layer transcoder h_in and h_out are those of
    several layers, side by side.

    Args:
        inputs, outputs: stores of one text through one model: one each, or as many inputs as outputs, layer by layer.

    Attributes:
        inputs, outputs: the same, as tuples.
        m_in, m_out: widths of all inputs and of all outputs.

    Raises:
        InvalidArgument: no store, or another number of inputs than of outputs.
        InvalidFile: stores of another model, text, context or policy than each other's; as the stores.
    """

    def __init__(
        self, inputs: ActivationStore | Sequence[ActivationStore], outputs: ActivationStore | Sequence[ActivationStore]
    ) -> None:
        self.inputs, self.outputs = (
            (side,) if isinstance(side, ActivationStore) else tuple(side) for side in (inputs, outputs)
        )
        count = len(self.outputs)
        require(
            len(self.inputs) == count >= 1, "inputs", len(self.inputs), f"must be as many as outputs, {count}, >= 1"
        )
        first = self.outputs[0]
        super().__init__(first.folder)
        for one in self._stores:
            different = [name for name in _SAME if one.description[name] != first.description[name]]
            policies = [{**about.description["policy"], "outlier_ratio": None} for about in (one, first)]
            different += ["policy"] * (policies[0] != policies[1])
            if different:
                raise InvalidFile(one.folder, f"has another {', '.join(different)} than {first.folder}")
        self.m_in, self.m_out = (sum(one.m for one in side) for side in (self.inputs, self.outputs))
        self.dtype = functools.reduce(torch.promote_types, (one.dtype for one in self._stores))

    @property
    def _stores(self) -> tuple[ActivationStore, ...]:
        return (*self.inputs, *self.outputs)

    @property
    def m(self) -> int:
        """Width of a row, m_in + m_out."""
        return self.m_in + self.m_out

    @cached_property
    def sha256(self) -> str:
        """Hash of all stores' content."""
        return hashlib.sha256(f"paired {' '.join(one.sha256 for one in self._stores)}".encode()).hexdigest()

    def kept(self, split: str) -> Tensor:
        """Which positions count at all places: bool (contexts, context)."""
        return functools.reduce(torch.logical_and, (one.kept(split) for one in self._stores))

    def count(self, split: str) -> int:
        return int(self.kept(split).sum())

    def rows(self, split: str) -> Tensor:
        """All rows of :meth:`batches` in memory, float32."""
        return torch.cat(list(self.batches(split, 4096)))

    def batches(self, split: str, size: int) -> Iterator[Tensor]:
        """The rows of a split in their order, ``size`` at a time (the last fewer), float32.

        Raises:
            InvalidArgument: a size below 1.
        """
        require(size >= 1, "size", size, "must be at least 1")
        kept = self.kept(split).sum(dim=1).numpy()
        each = max(1, size // max(1, int(kept.max())))
        waiting = torch.empty(0, self.m)
        for first in range(0, len(kept), each):
            part = self.context_rows(split, np.arange(first, min(len(kept), first + each))).float()
            waiting = torch.cat([waiting, part])
            while len(waiting) >= size:
                yield waiting[:size]
                waiting = waiting[size:]
        if len(waiting):
            yield waiting

    def context_rows(self, split: str, contexts: NDArray[np.integer]) -> Tensor:
        """As the stores', (rows, m), in the wider of their dtypes."""
        parts = [one.context_rows(split, contexts).to(self.dtype) for one in self._stores]
        chosen = torch.from_numpy(np.asarray(contexts))
        own = [one.kept(split)[chosen] for one in self._stores]
        every = functools.reduce(torch.logical_and, own)
        return torch.cat([part[every[kept]] for part, kept in zip(parts, own, strict=True)], dim=1)

    def place(self) -> dict[str, object]:
        """Where inputs and outputs are in the model, for the fields of a transcoder: lists for several layers."""
        here = self.description
        about = {key: here[key] for key in ("model", "model_fingerprint", "context")}
        about["language_model"] = about["model"]
        for key, side in (("", self.outputs), ("input_", self.inputs)):
            for name in ("layer", "hook"):
                said = [one.description[name] for one in side]
                about[f"{key}{name}"] = said[0] if len(said) == 1 else said
        return about


def require_rows(store: PairedStore) -> None:
    """Raise :class:`InvalidFile` where a split has no position that counts at all places."""
    for split in SPLITS:
        if store.count(split) == 0:
            raise InvalidFile(store.folder, f"has no {split} position that counts at all places")


def paired_store(
    folder: str | os.PathLike[str], inputs: tuple[int | None, str], outputs: tuple[int | None, str]
) -> PairedStore:
    """The stores of two places in a folder of several, as one harvest of several places leaves it.

    Args:
        folder: whose subfolders are stores.
        inputs, outputs: (layer, hook) of both; a layer of None is the only one that is there.

    Raises:
        InvalidFile: no such place, or several layers of that hook where none is named; as :class:`PairedStore`.
    """
    there = _by_place(folder)
    return PairedStore(_found(folder, there, *inputs), _found(folder, there, *outputs))


def layers_store(
    folder: str | os.PathLike[str], layers: Sequence[int], input_hook: str = "mlp_in", output_hook: str = "mlp_out"
) -> PairedStore:
    """The stores of both hooks of several layers in a folder, for a cross-layer transcoder.

    Args:
        folder: whose subfolders are stores.
        layers: which, in the order of the model.
        input_hook, output_hook: what is read and what is given.

    Raises:
        InvalidArgument: no layer, or layers that do not ascend.
        InvalidFile: as :func:`paired_store`.
    """
    ascending = len(layers) > 0 and list(layers) == sorted(set(layers))
    require(ascending, "layers", list(layers), "must ascend: a feature writes to its own layer and to those after it")
    there = _by_place(folder)
    sides = ([_found(folder, there, layer, hook) for layer in layers] for hook in (input_hook, output_hook))
    return PairedStore(*sides)


_DESCRIPTION = "activations.json"
_Places = dict[tuple[int, str], Path]


def _by_place(folder: str | os.PathLike[str]) -> _Places:
    """Where the stores in a folder are; one that is not asked for may still be harvested."""
    found = {}
    for path in sorted(Path(folder).glob(f"*/{_DESCRIPTION}")):
        about = typed(path, read_json(path, dict[str, Any]), _Place)
        found[about["layer"], about["hook"]] = path.parent
    return found


class _Place(TypedDict):
    layer: int
    hook: str


def _found(folder: str | os.PathLike[str], there: _Places, layer: int | None, hook: str) -> ActivationStore:
    fitting = [place for place in there if place[1] == hook and layer in (None, place[0])]
    if len(fitting) != 1:
        wanted = hook if layer is None else f"{hook} of layer {layer}"
        shown = ", ".join(f"{h} of layer {number}" for number, h in sorted(there)) or "none"
        what = "several layers" if fitting else "no store"
        raise InvalidFile(folder, f"holds {what} of {wanted}; its stores: {shown}")
    return ActivationStore(there[fitting[0]])
