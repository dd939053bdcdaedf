"""``expander sae eval-transcoders``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    from sae_bridge.transcoders import AnyTranscoder, PairedStore, TranscoderRow


@dataclass(frozen=True)
class EvaluateTranscoders:
    """Evaluate transcoders on held-out text: FVU, L0, CE-loss recovered.

    Beside them stand maps at the same k that learned no feature, with what they store: the mean, the best linear map,
    k coordinates of the input and an untrained transcoder with the best decoder for them, and an oracle that sees the
    output.
    """

    activations: tyro.conf.Positional[Path]
    """Folder of a harvest of several places."""
    transcoders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders written by `expander sae transcode`, or transcoders of SAELens or sparsify; all of one pair of places."""
    input: str | None = None
    """Hook that is read; default: what the transcoders say."""
    output: str | None = None
    """Hook that is given; default: what the transcoders say."""
    layer: int | None = None
    """Layer of both; default: what the transcoders say."""
    output_layer: int | None = None
    """Layer of the output, if it is another one."""
    model: str | None = None
    """The language model; default: the one that the activations were harvested from."""
    nulls: bool = True
    """Whether maps without features are evaluated too."""
    out: Path | None = None
    """Also write everything to this JSON file."""
    other_activations: bool = False
    """Accept transcoders that were trained on other text, or that do not say on which activations."""
    force: bool = False
    """Overwrite an existing file."""
    device: str = "cpu"
    """Torch device of the model and the transcoders."""

    def run(self) -> None:
        from dataclasses import asdict

        from expander_theory.base import require
        from expander_theory.results import require_new, table, write_json
        from sae_bridge.evaluation import conventions
        from sae_bridge.models import checked_device, load_language_model
        from sae_bridge.transcoders import (
            Transcoder,
            layered_nulls,
            load_any_transcoder,
            transcoder_map,
            transcoder_nulls,
            transcoder_rows,
        )

        require(len(self.transcoders) > 0, "transcoders", "none", "name at least one folder")
        names = [str(folder) for folder in self.transcoders]
        require(len(set(names)) == len(names), "transcoders", names, "must be different folders")
        if self.out is not None:
            require_new(self.out, self.force)
        where = checked_device(self.device)
        loaded = {name: load_any_transcoder(name) for name in names}
        store = self._store({name: fields for name, (_, fields) in loaded.items()})
        for name, (one, fields) in loaded.items():
            self._require_fit(name, one, fields, store)
        made: dict[str, AnyTranscoder] = {name: one.to(where) for name, (one, _) in loaded.items()}
        maps = [transcoder_map(name, one) for name, one in made.items()]
        if self.nulls and len(store.outputs) > 1:
            for k in sorted({one.k for one in made.values() if one.k is not None}):
                maps += [null for null in layered_nulls(store, k) if null.name not in {m.name for m in maps}]
        elif self.nulls:
            for k in sorted({one.k for one in made.values() if one.k is not None}):
                shapes = [one for one in made.values() if isinstance(one, Transcoder)]
                maps += [null for null in transcoder_nulls(store, k, shapes) if null.name not in {m.name for m in maps}]
        model = load_language_model(self.model or store.description["model"], device=self.device)
        rows = transcoder_rows(maps, store, model)
        print(table([_shown(row) for row in rows]))
        first = rows[0].fidelity or {}
        print(f"\n{conventions(first['positions'], first['baseline'], first['resample'])}")
        print(_LEGEND)
        if self.out is not None:
            write_json(self.out, [asdict(row) for row in rows])

    def _store(self, fields: "dict[str, dict[str, Any]]") -> "PairedStore":
        """The pair of places: what is asked for, else what every transcoder says."""
        from expander_theory.base import require
        from sae_bridge.transcoders import layers_store, paired_store

        def agreed(name: str, given: Any, default: Any = None) -> Any:
            if given is not None:
                return given
            said = {_hashable(one[name]) for one in fields.values() if name in one}
            require(
                len(said) <= 1, name, sorted(map(str, said)), "must be the same for all: evaluate others by themselves"
            )
            return said.pop() if said else default

        place = agreed("layer", None)
        if isinstance(place, tuple):
            hooks = (
                agreed("input_hook", self.input and (self.input,))[0],
                agreed("hook", self.output and (self.output,))[0],
            )
            return layers_store(self.activations, place, *hooks)
        layer = agreed("input_layer", self.layer)
        there = agreed("layer", self.layer if self.output_layer is None else self.output_layer, layer)
        hooks = agreed("input_hook", self.input, "mlp_in"), agreed("hook", self.output, "mlp_out")
        return paired_store(self.activations, (layer, hooks[0]), (there, hooks[1]))

    def _require_fit(self, name: str, one: "AnyTranscoder", fields: "dict[str, Any]", store: "PairedStore") -> None:
        from expander_theory.base import InvalidFile, require
        from sae_bridge.evaluation import require_trained_on

        widths = f"of widths {one.m_in} -> {one.m}"
        require((one.m_in, one.m) == (store.m_in, store.m_out), name, widths, f"must be {store.m_in} -> {store.m_out}")
        about = store.place()
        for key in ("input_layer", "input_hook", "layer", "hook"):
            if key in fields and fields[key] != about[key]:
                there, here = fields[key], about[key]
                raise InvalidFile(name, f"is of another place: {key} is {there!r} there and {here!r} here")
        others = {key: value for key, value in fields.items() if key not in ("layer", "hook")}
        require_trained_on(store, others, name, other_activations=self.other_activations)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_LEGEND = (
    "FVU: of the output. CE recovered: of the cross-entropy that zero (mean) ablation of the output adds, what the "
    "map's output gives back. Values: all that is stored but supports; packed: bfloat16 and bit-packed supports. "
    "The oracle sees the true output."
)


def _shown(row: "TranscoderRow") -> dict[str, Any]:
    found = row.fidelity or {}
    return {
        "map": row.name,
        "k": row.k,
        "FVU": row.fvu,
        **({"by layer": " ".join(f"{one:.3f}" for one in row.fvu_by_layer)} if len(row.fvu_by_layer) > 1 else {}),
        "95 %": None if row.fvu_interval is None else "[{:.4g}, {:.4g}]".format(*row.fvu_interval),
        "L0": row.l0,
        "CE recovered (zero)": found.get("recovered_zero"),
        "(mean)": found.get("recovered_mean"),
        "KL": found.get("kl"),
        "values": row.values,
        "decoder": row.decoder_values,
        "float32 KiB": round(row.bytes_float32 / 1024),
        "packed KiB": round(row.bytes_packed / 1024),
        "multiplications": row.operations,
    }
