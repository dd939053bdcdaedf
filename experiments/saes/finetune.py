"""Does a short finetune on the model's output close part of the CE gap at fixed storage? With its control, and with
gradients through the codes or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from expander_theory.results import FinetuneRecord
    from sae_bridge.suites import SAESuite


def run(suite: SAESuite) -> list[FinetuneRecord]:
    """Train, finetune and measure; a ledger that holds every finetune is only read."""
    from expander_theory.results import FinetuneRecord, Ledger
    from sae_bridge.suites import file_name, finetune_records, finetune_start, finetunes
    from sae_bridge.training import finetune

    setting = suite.setting
    seed, sizes, variant = setting.control_seeds[0], setting.finetune, finetune_start(setting)
    name, chosen, folder = file_name(variant, seed), finetunes(setting), suite.out / "finetune"
    identity = {"kind": "finetune", "setting": setting.name, "activations_sha256": suite.store.sha256}
    about = {
        "model": suite.store.description["model"],
        **{"m": suite.store.m, "n": setting.recipe.n, "layer": suite.store.description["layer"]},
        **{"context": suite.store.description["context"], "training_steps": setting.recipe.steps},
        **{"training_batch": setting.batch, "seed": seed},
    }
    with Ledger(folder / "ledger.jsonl", identity | about) as ledger:
        known = {record.name for record in ledger.of(FinetuneRecord)}
        if not {name, *(one.name for one in chosen)} <= known:
            suite.train([(variant, seed)])
            start, saes = suite.out / "sae" / name, {}
            for rate in dict.fromkeys(one.learning_rate for one in chosen):  # those of a rate share their batches
                runs = {one.name: one.how for one in chosen if one.learning_rate == rate}
                how = {"steps": sizes.steps, "contexts": sizes.contexts, "learning_rate": rate, "seed": seed}
                saes |= finetune(runs, start, suite.model, suite.store, folder / "sae", **how)
            records = finetune_records(
                (name, suite.sae(variant, seed)),
                saes,
                {name: f"{variant.label}, before", **{one.name: one.label for one in chosen}},
                folder / "sae",
                suite.model,
                suite.store,
                step_contexts=sizes.contexts,
                positions=setting.positions,
                known=suite.known_losses(),
            )
            for record in records:
                if record.name not in known:
                    ledger.append(record)
        return ledger.of(FinetuneRecord)
