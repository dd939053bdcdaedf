"""What packing an SAE costs: fidelity of what is read back from a packed file, beside the SAE that was packed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from expander_theory.results import Measurement
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation.evaluate import AnySAE, evaluation_row, replacement
from sae_bridge.evaluation.intervals import Bootstrap, Interval, Resample
from sae_bridge.evaluation.losses import Losses, Positions
from sae_bridge.evaluation.model_fidelity import measure_losses
from sae_bridge.evaluation.reconstruction import reconstruction
from sae_bridge.models import LanguageModel
from sae_bridge.packing import Packing, read_packed
from sae_bridge.sae import SparseAutoencoder, load_sae, pack_sae


@dataclass(frozen=True)
class PackedMeasurement:
    """Fidelity of one SAE as it is read from a packed file.

    Attributes:
        packing: how it is packed.
        listed: whether the file stores supports.
        file_bytes: of the whole file, as the file system has it.
        measured: fidelity of what is read from it.
        change: of its cross-entropy from that of the SAE as it was, nats a token.
        change_interval: 95 % bootstrap, paired by context; None as in :class:`sae_bridge.evaluation.Bootstrap`.
    """

    packing: Packing
    listed: bool
    file_bytes: int
    measured: Measurement
    change: float
    change_interval: Interval | None


class PackedMeasurements(NamedTuple):
    """Fidelity of an SAE as it is (``own``), of its packed files, and of what stands beside them, by name."""

    own: Measurement
    packed: list[PackedMeasurement]
    beside: dict[str, Measurement]


def measured_packings(
    name: str,
    sae: SparseAutoencoder,
    fields: dict[str, Any],
    packings: Sequence[Packing],
    model: LanguageModel,
    store: ActivationStore,
    *,
    beside: Mapping[str, AnySAE] | None = None,
    positions: Positions = "kept",
    resample: Resample | None = None,
    known: Losses | None = None,
    training_tokens: int | None = 0,
    progress: bool = True,
) -> PackedMeasurements:
    """Measure an SAE as it is and from a packed file of each kind; the model is run over the text once for all.

    Args:
        name: for records; that of a packed one says how it is packed, too.
        sae: in evaluation mode.
        fields: how it was trained, for the files.
        packings: which.
        beside: other SAEs or nulls to measure on the same text, by name.
        positions, known: see :func:`sae_bridge.evaluation.measure_losses`.
        resample: see :class:`sae_bridge.evaluation.Bootstrap`.
        training_tokens: see :func:`sae_bridge.evaluation.reconstruction`.

    Raises:
        InvalidArgument: an SAE of another width than the store's.
        InvalidFile: the store was harvested from another model.
    """
    saes: dict[str, AnySAE] = {name: sae, **(beside or {})}
    sizes, listed = dict[str, int](), dict[str, bool]()
    kinds = {_label(name, packing): packing for packing in packings}
    with tempfile.TemporaryDirectory() as folder:
        for at, (label, packing) in enumerate(kinds.items()):
            path = Path(folder, f"{at}.safetensors")
            pack_sae(sae, path, fields, packing)
            sizes[label] = os.stat(path).st_size
            listed[label] = read_packed(path).packing.supports == "listed"
            saes[label] = load_sae(path)[0].to(sae.device)
    changes = {label: replacement(one) for label, one in saes.items()}
    losses = measure_losses(changes, model, store, positions=positions, known=known, progress=progress)
    rows = {}
    for label, one in saes.items():
        kept = reconstruction(one, store, resample=resample, training_tokens=training_tokens, progress=progress)
        rows[label] = evaluation_row(label, one, kept, losses.fidelity(label, resample))
    bootstrap = Bootstrap(losses.documents, resample)
    found = []
    for label, packing in kinds.items():
        change, interval = bootstrap.mean(losses.ce[label] - losses.ce[name], losses.predictions)
        found.append(PackedMeasurement(packing, listed[label], sizes[label], rows[label], change, interval))
    return PackedMeasurements(rows[name], found, {label: rows[label] for label in beside or {}})


def _label(name: str, packing: Packing) -> str:
    return f"{name}, {packing.values}, vectors {packing.vectors}, supports {packing.supports}"
