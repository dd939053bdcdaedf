"""Fidelity over the bytes of packed files: expander, learned, block and dense SAEs, beside what has learned nothing."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from expander_theory.results import PackedRecord
    from sae_bridge.packing import Values
    from sae_bridge.suites import Member, SAESuite

VALUES: tuple[Values, ...] = ("bfloat16", "int4", "int2")
"""Formats that every SAE is packed in."""


def members(suite: SAESuite) -> list[Member]:
    """The SAEs: those of the frontier, and those that are compared with the same inference."""
    from sae_bridge.suites import architecture, equal_inference

    setting = suite.setting
    plain = product([architecture(setting.recipe, d) for d in setting.degrees], setting.seeds)
    fair = product(equal_inference(setting, suite.store.m), setting.equal_inference.seeds)
    return list(dict.fromkeys([*plain, *fair]))


def run(suite: SAESuite) -> None:
    """Train what is not trained, pack and measure what the ledger does not hold yet."""
    from expander_theory.base import progress_bar
    from expander_theory.results import Ledger, NullRecord, PackedRecord
    from sae_bridge.suites import file_name

    chosen = members(suite)
    suite.train(chosen)
    suite.measured_nulls([suite.setting.recipe.k])
    about = {key: suite.store.description[key] for key in ("model", "layer", "hook", "documents", "contexts")}
    recipe = suite.setting.recipe
    identity = {
        "kind": "packed",
        "setting": suite.setting.name,
        "activations_sha256": suite.store.sha256,
        **{"m": suite.store.m, "n": recipe.n, "k": recipe.k, "steps": recipe.steps, "batch": suite.setting.batch},
        **about,
    }
    with Ledger(suite.out / "packed" / "ledger.jsonl", identity) as ledger:
        have = {record.name for record in ledger.of(NullRecord)}
        for null in suite.nulls():
            if null.name not in have:
                ledger.append(null)
        done = {(record.variant, record.seed, record.values) for record in ledger.of(PackedRecord)}
        todo = [(variant, seed, [v for v in VALUES if (variant.name, seed, v) not in done]) for variant, seed in chosen]
        todo = [entry for entry in todo if entry[2]]
        for variant, seed, values in progress_bar(todo, unit="SAE", desc="packed", show=bool(todo)):
            for record in _records(suite, (variant, seed), file_name(variant, seed), values):
                ledger.append(record)


def _records(suite: SAESuite, member: Member, name: str, values: Sequence[Values]) -> Iterator[PackedRecord]:
    from expander_theory.results import PackedRecord
    from sae_bridge.evaluation import measured_packings
    from sae_bridge.packing import Packing
    from sae_bridge.sae import load_sae

    variant, seed = member
    sae, fields = load_sae(suite.out / "sae" / name)
    found = measured_packings(
        name,
        sae.to(suite.device),
        fields,
        [Packing(one) for one in values],
        suite.model,
        suite.store,
        positions=suite.setting.positions,
        known=suite.known_losses(),
        progress=False,
    )
    for one in found.packed:
        measured = {**vars(one.measured), "name": f"{name}-{one.packing.values}"}
        yield PackedRecord(
            **measured,
            label=variant.label,
            variant=variant.name,
            seed=seed,
            values=one.packing.values,
            listed=one.listed,
            file_bytes=one.file_bytes,
            activations_sha256=suite.store.sha256,
            ce_above_stored=one.change,
            ce_above_stored_interval=one.change_interval,
        )
