"""Do SAEs find the features that are there? On activations whose features are known, by encoder and structure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sae_bridge.suites import TruthScale


def run(scale: TruthScale, folder: Path, device: str = "cpu") -> None:
    """Train and measure every condition that the ledger does not hold yet."""
    from dataclasses import asdict

    from expander_theory.base import progress_bar
    from expander_theory.results import Ledger, PlantedRecord, Record
    from sae_bridge.suites import agreement_records, conditions, planted_record, train_on_truth, truth_records
    from sae_bridge.synthetic import Sample

    about = {key: value for key, value in asdict(scale).items() if key != "conditions"}
    with Ledger(folder / "ledger.jsonl", {"kind": "ground truth", **about}) as ledger:
        done = {record.condition for record in ledger.of(PlantedRecord)}
        todo = [condition for condition in conditions(scale) if condition.name not in done]
        for condition in progress_bar(todo, unit="law", desc="known features", show=bool(todo)):
            features = condition.law.build()
            held_out = Sample.drawn(features, scale.tokens, "held out")
            saes = train_on_truth(condition, features, scale, folder / "sae" / condition.name, device)
            records: list[Record] = [*truth_records(condition, features, saes, scale, held_out)]
            named = {(learner.name, seed): sae for (learner, seed), sae in saes.items()}
            records += agreement_records(condition.name, named, scale.seeds)
            for record in (*records, planted_record(condition, features, held_out, scale.supports)):
                if record not in ledger.records:  # a run that was stopped has written some of them
                    ledger.append(record)
