"""How masks expand: a polynomial mask beside uniform random ones, as masks and as sign dictionaries."""

from dataclasses import asdict
from pathlib import Path

from expander_theory.dictionaries import dictionary_measures, expansion_rows, mask_measures, sign_dictionary
from expander_theory.masks import Mask, polynomial_mask, save_mask, uniform_mask
from expander_theory.results import ExpansionRow, Ledger, MaskRecord, renamed
from experiments.theory.presets import Preset

_MAX_SIZE = 4


def run(preset: Preset, folder: Path) -> None:
    """Build, save and measure each mask."""
    content = asdict(preset)
    identity = {"kind": "mask geometry", **{key: content[key] for key in ("masks", "seed", "expansion_seconds")}}
    with Ledger(folder / "ledger.jsonl", identity) as ledger:
        done = {record.name for record in ledger.of(MaskRecord)}
        for name, mask in _masks(preset):
            if name in done:
                continue
            save_mask(mask, folder / f"{name}.safetensors")
            measures = mask_measures(mask) | dictionary_measures(sign_dictionary(mask, seed=preset.seed))
            rows = expansion_rows(mask, _MAX_SIZE, time_limit=preset.expansion_seconds)
            expansion = tuple(ExpansionRow(**row) for row in rows)
            ledger.append(MaskRecord(name=name, **renamed(measures), expansion=expansion))


def _masks(preset: Preset) -> list[tuple[str, Mask]]:
    uniform = [(f"uniform-m{m}-n{n}-d{d}", uniform_mask(m, n, d, seed=preset.seed)) for m, n, d in preset.masks]
    return [("polynomial-q256-d8-r2", polynomial_mask(256, 8, r=2)), *uniform]
