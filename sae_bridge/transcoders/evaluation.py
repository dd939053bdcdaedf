"""What transcoders are worth: the output's FVU, L0, and the model's predictions with the output replaced, held out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import InvalidFile, progress_bar, require
from sae_bridge.evaluation import Bootstrap, mean_activation, measure_losses
from sae_bridge.models import Hook, LanguageModel
from sae_bridge.transcoders.nulls import Map
from sae_bridge.transcoders.paired import PairedStore, require_rows

_BATCH = 2048


@dataclass(frozen=True)
class TranscoderRow:
    """One map, measured at the held-out positions that count at both places; intervals are 95 % bootstrap.

    Attributes:
        name, kind, k: of the map.
        fvu: sum |h_out - y_hat|^2 / sum |h_out - mean h_out|^2; of several layers the mean of their FVUs.
        fvu_by_layer: of each.
        l0: mean number of nonzero code entries.
        values, decoder_values, bytes_float32, bytes_packed, operations: see :class:`Storage`.
        fidelity: fields of :class:`sae_bridge.evaluation.losses.Fidelity`, with y_hat in the place of the output: CE
            and KL, against zero and mean ablation of the output; None where no model was given.
    """

    name: str
    kind: str
    k: int | None
    fvu: float
    fvu_interval: tuple[float, float] | None
    fvu_by_layer: list[float]
    l0: float
    values: int
    decoder_values: int
    bytes_float32: int
    bytes_packed: int
    operations: int
    fidelity: dict[str, Any] | None


@torch.no_grad()
def transcoder_rows(
    maps: Sequence[Map], store: PairedStore, model: LanguageModel | None = None, *, progress: bool = True
) -> list[TranscoderRow]:
    """Evaluate maps; the model is run over the text once for all of them.

    Args:
        maps: of different names.
        store: inputs and outputs.
        model: that both were harvested from; None: no fidelity to the model.
        progress: show progress bars.

    Raises:
        InvalidArgument: no map, names that repeat, NaN outputs.
        InvalidFile: no position that counts, outputs that do not vary, a store of another model.
    """
    require(len(maps) > 0, "maps", "none", "must name at least one")
    names = [one.name for one in maps]
    require(len(set(names)) == len(names), "maps", names, "must have different names")
    require_rows(store)
    losses = None
    if model is not None:
        changes = {one.name: _replacement(one, store.m_in) for one in maps}
        losses = measure_losses(changes, PairedModel(model, store), store, progress=progress)
    rows = []
    for one in maps:
        found = _reconstruction(one, store, progress)
        storage, own = asdict(one.storage), None if losses is None else asdict(losses.fidelity(one.name))
        rows.append(TranscoderRow(one.name, one.kind, one.k, **found, **storage, fidelity=own))
    return rows


def _reconstruction(one: Map, store: PairedStore, progress: bool) -> dict[str, Any]:
    """FVU, its interval, that of each layer, and L0."""
    kept = store.kept("held_out").numpy()
    context, filled = np.nonzero(kept)[0], 0
    mean = mean_activation(store, "held_out")[store.m_in :]
    widths = [output.m for output in store.outputs]
    error, variance = np.zeros((2, len(widths), len(kept)))
    active = 0.0
    with progress_bar(total=len(context), unit="token", unit_scale=True, desc="FVU", show=progress) as bar:
        for rows in store.batches("held_out", _BATCH):
            y, features = one.function(rows)
            true, own = rows[:, store.m_in :].double(), context[filled : filled + len(rows)]
            for sums, apart in ((error, true - y), (variance, true - mean)):
                for layer, part in enumerate(apart.split(widths, dim=1)):
                    squares = part.square().sum(dim=1).cpu().numpy()
                    sums[layer] += np.bincount(own, squares, minlength=len(kept))
            active += float(features.double().sum())
            filled += len(rows)
            bar.update(len(rows))
    require(bool(np.isfinite(error).all()), one.name, "with NaN or infinite outputs", "is damaged")
    totals = variance.sum(axis=1, keepdims=True)
    if not (totals > 0).all():
        raise InvalidFile(store.folder, "has held-out outputs that do not vary: FVU is undefined")
    fvu, interval = Bootstrap(store.documents("held_out")).mean(
        (error / totals).sum(axis=0), (variance / totals).sum(axis=0)
    )
    by_layer = (error.sum(axis=1) / totals[:, 0]).tolist()
    return {"fvu": fvu, "fvu_interval": interval, "fvu_by_layer": by_layer, "l0": active / len(context)}


def _replacement(one: Map, m_in: int) -> Any:
    def change(rows: Tensor) -> Tensor:
        return torch.cat([rows[:, :m_in], one.function(rows)[0]], dim=1)

    return change


class PairedModel(LanguageModel):
    """A language model whose activations are [h_in | h_out] of a paired store's places, and whose logits depend on
    h_out there.

    So what measures replaced activations measures outputs that are made of inputs. What is put at the inputs' places
    is not used. With several layers the outputs of all are replaced in one run; they are made of the inputs of the run
    without a change, so that no layer sees what another one missed.
    """

    def __init__(self, model: LanguageModel, store: PairedStore) -> None:
        super().__init__(model.name, model.model, model.tokenizer)
        self._whole = model
        self._inputs, self._outputs = (
            [(one.description["layer"], one.description["hook"]) for one in side]
            for side in (store.inputs, store.outputs)
        )
        self._m_in, self._widths = store.m_in, [one.m for one in store.outputs]

    def activations(self, tokens: Tensor, layer: int, hook: Hook = "resid_post") -> Tensor:
        """(batch, context, m_in + m_out)."""
        return torch.cat(self._whole.activations_at(tokens, [*self._inputs, *self._outputs]), dim=-1)

    @torch.no_grad()
    def logits_from(self, tokens: Tensor, layer: int, hook: Hook, hidden: Tensor) -> Tensor:
        """Logits when the outputs are the last m_out columns of ``hidden``."""
        outputs = hidden[..., self._m_in :].split(self._widths, dim=-1)
        if len(outputs) == 1:
            return self._whole.logits_from(tokens, *self._outputs[0], outputs[0])
        with ExitStack() as stack:
            for place, output in zip(self._outputs, outputs, strict=True):
                put = output.to(self._whole.device, self._whole.dtype)
                stack.enter_context(self._whole.intervene(*place, lambda _, put=put: put))
            return self._whole.logits(tokens)
