"""A small SAE for every layer of a language model: harvested in one pass, trained, packed and judged.

Everything resumes: whole shards, checkpoints of training, packed files and judgements stay, and the same call goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expander_theory.base import InvalidFile, require
from expander_theory.results import atomic_write, canonical_json, fields_of, read_json, stored_sha256, table, write_json
from sae_bridge.activations import ActivationStore, Harvest, Place, StoredStream, TextSource, harvest_places
from sae_bridge.evaluation import Nulls, measured_packings
from sae_bridge.models import Hook, LanguageModel, load_language_model
from sae_bridge.packing import Packing
from sae_bridge.sae import load_sae, pack_sae
from sae_bridge.training import Training, train

TABLE, PAGE = "table.json", "README.md"
NULL = "coordinate null"
_ABOUT = ("model", "model_fingerprint", "layer", "hook", "context")


@dataclass(frozen=True)
class EveryLayer:
    """What a suite of layers is made of.

    Attributes:
        model, text: as :func:`sae_bridge.models.load_language_model` and :class:`sae_bridge.activations.TextSource`
            name them.
        layers: decoder blocks; empty for all of them.
        hook: where in each.
        harvest: how much text; its layer and hook are not used.
        training: the recipe of each SAE.
        batch: tokens a step.
        packing: how they are packed.
    """

    model: str = "default"
    text: tuple[str, ...] = ("enwik8",)
    layers: tuple[int, ...] = ()
    hook: Hook = "resid_post"
    harvest: Harvest = field(default_factory=lambda: Harvest(dtype="bfloat16"))
    training: Training = field(default_factory=Training)
    batch: int = 1024
    packing: Packing = field(default_factory=Packing)

    def __post_init__(self) -> None:
        require(len(set(self.layers)) == len(self.layers), "layers", self.layers, "must not repeat")
        require(self.batch >= 1, "batch", self.batch, "must be at least 1")


@dataclass(frozen=True)
class LayerRow:
    """One packed SAE beside itself as it was trained and the coordinate null of the same k.

    Attributes:
        place: the name of its store, and of its file without the ending, such as "layer14.resid_post".
        bytes, sha256: of the packed file.
        activations_sha256: of the activations that all were measured on.
        change, change_interval: of the cross-entropy by packing, nats a token, and its 95 % bootstrap interval.
        packed, trained, null: fields of :class:`expander_theory.results.Measurement`.
    """

    place: str
    bytes: int
    sha256: str
    activations_sha256: str
    change: float
    change_interval: list[float] | None
    packed: dict[str, Any]
    trained: dict[str, Any]
    null: dict[str, Any]


def every_layer(
    what: EveryLayer,
    out: str | os.PathLike[str],
    work: str | os.PathLike[str],
    *,
    device: str = "cpu",
    progress: bool = True,
    done: Callable[[LayerRow], object] = lambda row: None,
) -> list[LayerRow]:
    """Make the suite, or go on with it.

    Args:
        what: model, layers and recipe.
        out: folder of the packed files, of ``table.json`` and of ``README.md``.
        work: another folder, for activations, SAEs in training and judgements: needed again only to go on.
        device: torch device.
        done: called with each layer's row when it is there.

    Returns:
        The rows in the order of the layers.

    Raises:
        InvalidArgument: no such layer or hook; ``out`` is ``work``.
        InvalidFile: a folder holds another suite or other files.
        Diverged: as :func:`sae_bridge.training.train`.
    """
    out, work = Path(out), Path(work)
    require(out.resolve() != work.resolve(), "work", work, f"must be another folder than {out}")
    model = load_language_model(what.model, device=device)
    places: list[Place] = [(layer, what.hook) for layer in what.layers or range(len(model.layers))]
    held = work / "activations"
    stores = harvest_places(model, TextSource(what.text), what.harvest, places, held, progress=progress)
    _require_own(out, stores)
    rows = []
    for place, store in stores.items():
        rows.append(_row(what, place, model, store, out, work, device, progress))
        done(rows[-1])
    write_json(out / TABLE, [vars(row) for row in rows])
    atomic_write(out / PAGE, suite_page(rows).encode())
    return rows


def suite_page(rows: list[LayerRow]) -> str:
    """The table of a suite, with its size, as Markdown."""
    total = sum(row.bytes for row in rows)
    shown = [
        {
            "file": f"{row.place}.safetensors",
            "bytes": f"{row.bytes:,}",
            "FVU": row.packed["fvu"],
            "FVU before packing": row.trained["fvu"],
            "FVU of the null": row.null["fvu"],
            "CE recovered": row.packed["recovered_zero"],
            "before packing": row.trained["recovered_zero"],
            "of the null": row.null["recovered_zero"],
        }
        for row in rows
    ]
    first = rows[0].packed
    return (
        f"# {len(rows)} SAEs, {total:,} bytes\n\n"
        f"m = {first['m']}, n = {first['n']}, d = {first['d']}, k = {first['k']}, {first['encoder']} encoder; "
        f"{first['tokens']:,} held-out tokens. The null is the coordinate null of the same "
        f"k. CE recovered is against zero ablation.\n\n{table(shown)}\n\n"
        "`sae_bridge.sae.load_sae` reads each file, and every command takes it in place of an SAE's folder.\n"
    )


def _row(
    what: EveryLayer,
    place: str,
    model: LanguageModel,
    store: ActivationStore,
    out: Path,
    work: Path,
    device: str,
    progress: bool,
) -> LayerRow:
    """One layer, from its activations to its row; what is there already is only read."""
    about = {key: store.description[key] for key in _ABOUT}
    about["language_model"] = about["model"]
    stream = StoredStream(store, what.batch, 0)
    found = train({".": what.training}, stream, work / "saes" / place, device=device, about=about, progress=progress)
    sae, (_, fields) = found["."], load_sae(work / "saes" / place)
    file, judged = out / f"{place}.safetensors", work / "judged" / f"{place}.json"
    out.mkdir(parents=True, exist_ok=True)
    pack_sae(sae, file, fields, what.packing)
    size, sha256 = file.stat().st_size, stored_sha256(file)
    known = json.loads(canonical_json({"bytes": size, "sha256": sha256, "activations_sha256": store.sha256}))
    if judged.is_file():
        stored = read_json(judged, dict[str, Any])
        if {key: stored.get(key) for key in known} == known:
            return LayerRow(**stored)
    beside = {null.name: null.build().to(sae.device) for null in Nulls(store).at(sae.k, ("coordinates",))}
    own, packed, nulls = measured_packings(
        place, sae, fields, [what.packing], model, store, beside=beside, progress=progress
    )
    (null,) = nulls.values()
    row = LayerRow(
        place,
        **known,
        change=packed[0].change,
        change_interval=None if packed[0].change_interval is None else list(packed[0].change_interval),
        packed=fields_of(packed[0].measured),
        trained=fields_of(own),
        null=fields_of(null),
    )
    row = LayerRow(**json.loads(json.dumps(vars(row))))  # as it is read again: tuples are lists
    judged.parent.mkdir(parents=True, exist_ok=True)
    write_json(judged, vars(row))
    return row


def _require_own(out: Path, places: dict[str, ActivationStore]) -> None:
    """The folder is what counts in bytes: it may hold files of this suite, and no others."""
    own = {TABLE, PAGE, *(f"{place}.safetensors" for place in places)}
    for path in _entries(out):
        if path.name not in own:
            raise InvalidFile(path, "is no file of this suite; choose another folder")


def _entries(folder: Path) -> Iterator[Path]:
    return (
        iter(sorted(path for path in folder.iterdir() if not path.name.startswith(".")))
        if folder.is_dir()
        else iter(())
    )
