"""Which structures of a dictionary do not pay beside learned supports: coordinates with dense columns, a rotation
first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from expander_theory.results import StructureRecord
    from sae_bridge.suites import SAESuite


def run(suite: SAESuite) -> list[StructureRecord]:
    """Train and measure; a ledger that holds every structure is only read."""
    from expander_theory.results import Ledger, StructureRecord
    from sae_bridge.suites import architecture, structure_records, structures, train_structures

    setting, folder = suite.setting, suite.out / "structures"
    seed, chosen = setting.control_seeds[0], structures(setting, suite.store.m, folder / "sae")
    identity = {"kind": "structures", "setting": setting.name, "activations_sha256": suite.store.sha256}
    about = {name: suite.store.description[name] for name in ("model", "layer", "hook", "documents", "context")}
    size = {"m": suite.store.m, "batch": setting.batch, "recipe": setting.recipe.identity(), "seed": seed}
    with Ledger(folder / "ledger.jsonl", identity | about | size) as ledger:
        known = {record.name for record in ledger.of(StructureRecord)}
        if not {one.name for one in chosen} <= known:
            rated = {one.name: (one, suite.rate(architecture(setting.recipe, one.rate_as))) for one in chosen}
            saes = train_structures(
                rated, suite.store, setting.batch, suite.stream.seed, folder / "sae", suite.device, seed
            )
            found = structure_records(chosen, saes, suite.model, suite.store, seed, positions=setting.positions)
            for record in found:
                if record.name not in known:
                    ledger.append(record)
        return ledger.of(StructureRecord)
