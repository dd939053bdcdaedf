"""Features of expander SAEs against those of the dense one: novelty with its null, token entropy, firing rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sae_bridge.suites import SAESuite


def run(suite: SAESuite) -> None:
    """Measure what the ledger does not hold yet."""
    from expander_theory.base import progress_bar
    from expander_theory.results import Ledger, NoveltyRecord, RateTenth
    from sae_bridge.evaluation import novelty
    from sae_bridge.suites import architecture, file_name, sparsities

    setting = suite.setting
    seed = setting.control_seeds[0]
    other = next((s for s in (*setting.seeds, seed + 1) if s != seed), seed + 1)
    ks = tuple(sorted({*setting.ks, setting.recipe.k}))
    dense = {v.training.k: v for v in sparsities(setting.recipe, (None,), ks)}
    plain = [architecture(setting.recipe, d) for d in setting.degrees if d is not None]
    over_k = sparsities(setting.recipe, tuple(d for d in setting.sparsity_degrees if d is not None), ks)
    targets = [(variant, seed) for variant in dict.fromkeys(plain + over_k)]
    targets.append((dense[setting.recipe.k], other))
    suite.train([*targets, *((v, seed) for v in dense.values())])
    identity = {"kind": "novelty", "setting": setting.name, "activations_sha256": suite.store.sha256}
    about = {"model": suite.store.description["model"], "m": suite.store.m, "n": setting.recipe.n}
    if seed:  # ledgers from before it was there are of seed 0
        about["seed"] = seed
    with Ledger(suite.out / "novelty" / "ledger.jsonl", identity | about) as ledger:
        done = {record.name for record in ledger.of(NoveltyRecord)}
        todo = [member for member in targets if file_name(*member) not in done]
        for variant, own in progress_bar(todo, unit="SAE", desc="novelty", show=bool(todo)):
            sae, reference = suite.sae(variant, own), suite.sae(dense[variant.training.k], seed)
            label = variant.label if sae.mask is not None else "dense, another seed"
            found = novelty(sae, reference, suite.store, seed=seed)
            ledger.append(
                NoveltyRecord(
                    name=file_name(variant, own),
                    label=label,
                    d=sae.weight.shape[1],
                    k=sae.k,
                    dense=sae.mask is None,
                    **{**found, "tenths": tuple(RateTenth(**tenth) for tenth in found["tenths"])},
                )
            )
