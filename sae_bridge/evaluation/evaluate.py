"""Everything that is measured of an SAE, as one record: fidelity to the activations and to the model, held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from expander_theory.base import InvalidFile, require
from expander_theory.results import Measurement
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation.intervals import Resample
from sae_bridge.evaluation.losses import Fidelity, Losses, Positions
from sae_bridge.evaluation.model_fidelity import Change, measure_losses
from sae_bridge.evaluation.reconstruction import CodeFunction, Reconstruction, reconstruction
from sae_bridge.interop import ImportedSAE, decoded
from sae_bridge.models import LanguageModel
from sae_bridge.sae import SparseAutoencoder

AnySAE = SparseAutoencoder | ImportedSAE


def replacement(sae: AnySAE, codes: CodeFunction | None = None) -> Change:
    """Activations (N, m) to an SAE's reconstructions, through its own codes or others' (in the units of h)."""

    def replace(h: Tensor) -> Tensor:
        own = h.to(sae.device, sae.weight.dtype)
        return decoded(sae, own, *(sae.encode if codes is None else codes)(own)).to(h.device, h.dtype)

    return replace


def evaluation_rows(
    saes: Mapping[str, AnySAE],
    model: LanguageModel,
    store: ActivationStore,
    *,
    positions: Positions = "kept",
    baseline: Positions = "kept",
    resample: Resample | None = None,
    known: Losses | None = None,
    training_tokens: int | None = None,
    progress: bool = True,
) -> list[Measurement]:
    """Evaluate SAEs; the model is run over the text once for all of them.

    Args:
        saes: by name, in evaluation mode.
        positions, baseline, known: see :func:`sae_bridge.evaluation.measure_losses`.
        resample: what the intervals resample, see :class:`sae_bridge.evaluation.Bootstrap`.
        training_tokens: see :func:`sae_bridge.evaluation.reconstruction`.

    Raises:
        InvalidArgument: an SAE of another width than the store's or in training mode, or as those functions.
        InvalidFile: the store was harvested from another model.
    """
    for name, sae in saes.items():
        require(sae.m == store.m, name, f"m = {sae.m}", f"must have the activations' width {store.m}")
        settled = not sae.training or sae.activation == "topk"
        require(settled, name, "in training mode", "codes by the batch: call eval() first")
    changes = {name: replacement(sae) for name, sae in saes.items()}
    losses = measure_losses(
        changes, model, store, positions=positions, baseline=baseline, known=known, progress=progress
    )
    rows = []
    for name, sae in saes.items():
        kept = reconstruction(sae, store, resample=resample, training_tokens=training_tokens, progress=progress)
        rows.append(evaluation_row(name, sae, kept, losses.fidelity(name, resample)))
    return rows


def evaluation_row(name: str, sae: AnySAE, kept: Reconstruction, to_model: Fidelity) -> Measurement:
    """What was measured of one SAE."""
    return Measurement(
        name=name,
        architecture=sae.architecture if isinstance(sae, SparseAutoencoder) else "dense",
        m=sae.m,
        n=sae.n,
        d=sae.weight.shape[1],
        k=sae.k,
        encoder=sae.encoding,
        activation=sae.activation,
        selection=sae.selection,
        decoder_values=sae.decoder_values,
        **asdict(kept),
        **asdict(to_model),
    )


def require_trained_on(
    store: ActivationStore,
    training: Mapping[str, Any],
    path: object,
    *,
    other_activations: bool = False,
    other_place: bool = False,
) -> None:
    """Raise :class:`InvalidFile` unless an SAE's training fields fit the activations of ``store``.

    Args:
        store: where it is to be evaluated.
        training: its training fields; what they do not say is not compared.
        path: of the SAE, for the message.
        other_activations: accept other text, or fields that name no activations. Its training documents might be
            held-out ones here.
        other_place: accept another layer, hook or language model.
    """
    there = store.description
    differences = [
        f"{name} is {training[name]!r} there and {there[name]!r} here"
        for name in ("layer", "hook")
        if name in training and training[name] != there[name]
    ]
    if "model_fingerprint" in training:
        same = training["model_fingerprint"] == there["model_fingerprint"]
    else:
        same = "language_model" not in training or _tail(training["language_model"]) == _tail(there["model"])
    if not same:
        theirs = training.get("language_model", training.get("model_fingerprint"))
        differences.append(f"the language model is {theirs!r} there and {there['model']!r} here")
    if differences and not other_place:
        raise InvalidFile(path, f"was trained at another place: {'; '.join(differences)} (--other-place accepts it)")
    if not (other_activations or other_place or _same_activations(store, training.get("activations_sha256"))):
        raise InvalidFile(
            path, f"was trained on other activations than {store.folder} (--other-activations accepts it)"
        )


def _same_activations(store: ActivationStore, sha256: str | None) -> bool:
    """Whether they are the store's, or those of a live stream of the same tokens, place, policy and precision."""
    return sha256 is not None and (sha256 == store.sha256 or sha256 == getattr(store, "live_sha256", None))


def _tail(name: Any) -> str:
    """A model's name without the folder or the owner."""
    return str(name).rstrip("/").rpartition("/")[2].lower()
