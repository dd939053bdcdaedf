"""Claim: part of the gap is encoder amortisation. Codes by every method on frozen decoders, at the same k.

Beside them stands the coordinate null, a code that has learned nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sae_bridge.suites import SAESuite

_IN_MODEL = ("encoder", "least_squares", "mp", "omp", "omp_nonnegative")


def run(suite: SAESuite) -> None:
    """Measure what the ledger does not hold yet."""
    from expander_theory.base import progress_bar
    from expander_theory.results import AmortisationRecord, Ledger, NullRecord
    from sae_bridge.evaluation import amortisation_gap
    from sae_bridge.suites import architecture, file_name, sparsities

    setting = suite.setting
    seed = setting.control_seeds[0]
    plain = [architecture(setting.recipe, d) for d in setting.degrees]
    ks = tuple(sorted({k for k in (*setting.ks, setting.recipe.k) if k <= setting.recipe.k}))
    over_k = sparsities(setting.recipe, setting.sparsity_degrees, ks)
    members = [(variant, seed) for variant in dict.fromkeys(plain + over_k)]
    suite.train(members)
    identity = {"kind": "amortisation", "setting": setting.name, "activations_sha256": suite.store.sha256}
    about = {"model": suite.store.description["model"], "m": suite.store.m, "n": setting.recipe.n}
    if seed:  # ledgers from before it was there are of seed 0
        about["seed"] = seed
    with Ledger(suite.out / "amortisation" / "ledger.jsonl", identity | about) as ledger:
        beside = {record.name for record in ledger.of(NullRecord)}
        for null in suite.measured_nulls(variant.training.k for variant, _ in members):
            if null.name not in beside:
                ledger.append(null)
        done = {record.name for record in ledger.of(AmortisationRecord)}
        todo = [member for member in members if file_name(*member) not in done]
        for variant, seed in progress_bar(todo, unit="SAE", desc="inference", show=bool(todo)):
            sae = suite.sae(variant, seed)
            model = suite.model if variant in plain else None  # those over k are compared by their errors alone
            found = amortisation_gap(
                sae,
                suite.store,
                model,
                methods=setting.methods if variant in over_k else _IN_MODEL,
                in_model=_IN_MODEL,
                positions=setting.positions,
                known=suite.known_losses(),
                progress=False,
            )
            ledger.append(
                AmortisationRecord(
                    name=file_name(variant, seed),
                    variant=variant.name,
                    label=variant.label,
                    seed=seed,
                    d=sae.weight.shape[1],
                    k=sae.k,
                    dense=sae.mask is None,
                    rows=tuple(found),
                )
            )
