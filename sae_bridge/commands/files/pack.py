"""``expander sae pack``."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from expander_theory.results import Measurement
    from sae_bridge.evaluation import PackedMeasurement
    from sae_bridge.packing import Packing
    from sae_bridge.sae import SparseAutoencoder


@dataclass(frozen=True)
class Pack:
    """Write a trained SAE as one small file, which every command takes.

    Of a mask that its seed draws again nothing is stored, else the ranks of its supports; values in 2 to 32 bits. With
    --activations also measure which bits cost nothing: FVU, L0 and CE of each format beside the SAE and the
    coordinate null.
    """

    sae: tyro.conf.Positional[Path]
    """Folder written by `expander sae train`, a packed file, or hf:owner/repo[@revision][:path]."""
    out: tyro.conf.Positional[Path]
    """The new file, by convention .safetensors."""
    values: Literal["float32", "bfloat16", "int8", "int4", "int3", "int2"] = "bfloat16"
    """Of decoder and encoder. Integers of so many bits are fitted to each column, without a scale: columns are unit
    again when they are read. float32, with --vectors float32 too, changes nothing."""
    vectors: Literal["bfloat16", "float32"] = "bfloat16"
    """Biases, and thresholds by feature; those of JumpReLU and Gated SAEs move codes by some per cent in bfloat16."""
    supports: Literal["auto", "listed"] = "auto"
    """auto: none where the mask's recipe draws it again; listed: always stored."""
    activations: Path | None = None
    """Also measure every format on these, a folder written by `expander sae harvest`."""
    model: str | None = None
    """The language model for that; default: the one that the activations were harvested from."""
    table: Path | None = None
    """Also write what was measured to this JSON file."""
    other_activations: bool = False
    """Measure also on other text than it was trained on."""
    other_place: bool = False
    """Measure also at another layer, hook or language model than it was trained at."""
    force: bool = False
    """Overwrite existing files."""
    device: str = "cpu"
    """Torch device of the measurement."""

    def run(self) -> None:
        from expander_theory.base import require
        from expander_theory.results import require_new
        from sae_bridge.packing import Packing
        from sae_bridge.sae import load_sae, pack_sae, packed_storage, storage

        measured = self.activations is not None
        require(self.table is None or measured, "table", self.table, "is written of --activations")
        for path in (self.out, *([self.table] if self.table else [])):
            require_new(path, self.force)
        sae, fields = load_sae(self.sae)
        packing = Packing(self.values, self.vectors, self.supports)
        pack_sae(sae, self.out, fields, packing)
        size, arrays = self.out.stat().st_size, packed_storage(sae, packing)
        before = storage(sae)["bytes_float32"]
        print(
            f"{self.out}: {size:,} bytes, {arrays:,} of them arrays; {before / size:.1f} times fewer than the "
            f"{before:,} of float32 values and int32 supports"
        )
        if measured:
            self._measure(sae, fields, packing)

    def _measure(self, sae: "SparseAutoencoder", fields: dict[str, Any], packing: "Packing") -> None:
        from expander_theory.results import fields_of, table, write_json
        from sae_bridge.activations import ActivationStore
        from sae_bridge.evaluation import (
            Nulls,
            active_features,
            conventions,
            measured_packings,
            require_trained_on,
        )
        from sae_bridge.models import checked_device, load_language_model
        from sae_bridge.packing import VALUES

        assert self.activations is not None
        store = ActivationStore(self.activations)
        require_trained_on(
            store, fields, self.sae, other_activations=self.other_activations, other_place=self.other_place
        )
        device = checked_device(self.device)
        model = load_language_model(self.model or store.description["model"], device=self.device)
        every = [replace(packing, values=values) for values in VALUES]
        beside = {
            null.label: null.build().to(device)
            for null in Nulls(store).at(active_features(sae, store), ("coordinates",))
        }
        own, packed, others = measured_packings(
            str(self.sae), sae.to(device), fields, every, model, store, beside=beside
        )
        nulls = [replace(row, architecture="null") for row in others.values()]
        rows = [
            _row("as it is", own),
            *(_packed_row(one) for one in packed),
            *(_row(null.name, null) for null in nulls),
        ]
        print(f"\n{table(rows)}\n\n{conventions(own.positions, own.baseline, own.resample)} {_CHANGE}")
        if self.table is not None:
            written = [{"values": None, "file_bytes": None, **fields_of(row)} for row in (own, *nulls)]
            written[1:1] = [
                {
                    "values": one.packing.values,
                    "vectors": one.packing.vectors,
                    "supports": one.packing.supports,
                    "file_bytes": one.file_bytes,
                    "change": one.change,
                    "change_interval": one.change_interval,
                    **fields_of(one.measured),
                }
                for one in packed
            ]
            write_json(self.table, written)


_CHANGE = (
    "Change: of the cross-entropy by packing, paired by context; where its interval holds 0 the bits cost nothing."
)


def _row(name: str, measured: "Measurement") -> dict[str, Any]:
    return {
        "values": name,
        "bytes": None,
        "FVU": _with(measured.fvu, measured.fvu_interval),
        "L0": measured.l0,
        "CE recovered": _with(measured.recovered_zero, measured.recovered_zero_interval),
        "delta CE": _with(measured.delta, measured.delta_interval),
        "change": None,
    }


def _packed_row(one: "PackedMeasurement") -> dict[str, Any]:
    change = _with(one.change, one.change_interval)
    return {**_row(one.packing.values, one.measured), "bytes": f"{one.file_bytes:,}", "change": change}


def _with(value: float | None, interval: Any) -> str | None:
    if value is None:
        return None
    return f"{value:.4f}" if interval is None else f"{value:.4f} [{interval[0]:.4f}, {interval[1]:.4f}]"
