"""Are the features of compressed SAEs as good as a dense SAE's? Scores without a judge, probes, likeness of seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sae_bridge.suites import SAESuite


def run(suite: SAESuite) -> None:
    """Score what the ledger does not hold yet; SAEs that are not trained are."""
    from expander_theory.base import progress_bar
    from expander_theory.results import AgreementRecord, FeaturesRecord, Ledger, RawProbesRecord
    from sae_bridge.suites import (
        agreement_records,
        feature_members,
        feature_nulls,
        feature_records,
        file_name,
    )

    setting, seeds = suite.setting, suite.setting.equal_inference.seeds
    members = feature_members(setting)
    about = {name: suite.store.description[name] for name in ("model", "layer", "hook", "documents", "context")}
    size = {"m": suite.store.m, "recipe": setting.recipe.identity(), "batch": setting.batch}
    identity = {"kind": "features", "setting": setting.name, "activations_sha256": suite.store.sha256}
    looked = {name: value for name, value in vars(setting.features).items() if name != "large"}
    with Ledger(suite.out / "features" / "ledger.jsonl", identity | about | size | {"looked": looked}) as ledger:
        done = {record.name for record in ledger.of(FeaturesRecord)}
        suite.train(member for member in members if file_name(*member) not in done)
        todo = [member for member in members if file_name(*member) not in done]
        nulls = [null for null in feature_nulls(suite) if null.name not in done]
        if todo or nulls:
            known = {record.label for record in ledger.of(RawProbesRecord)}
            for record in feature_records(suite, todo, nulls):
                if not isinstance(record, RawProbesRecord) or record.label not in known:
                    ledger.append(record)
        alike = {(record.name, *record.seeds) for record in ledger.of(AgreementRecord)}
        variants = list(dict.fromkeys(variant for variant, _ in members))
        pairs = [
            (variant, other)
            for variant in variants
            for other in seeds[1:]
            if (variant, other) in members and (variant.name, seeds[0], other) not in alike
        ]
        for variant, other in progress_bar(pairs, unit="pair", desc="features: two seeds", show=bool(pairs)):
            saes = {(variant.name, seed): suite.sae(variant, seed) for seed in (seeds[0], other)}
            for record in agreement_records(setting.name, saes, (seeds[0], other)):
                ledger.append(record)


def judge(suite: SAESuite, source: str, model: str | None, count: int) -> None:
    """Let a judge explain and test some features of each SAE of the first seed, and of the coordinates."""
    from expander_theory.results import Ledger
    from sae_bridge.evaluation import Nulls
    from sae_bridge.features import Spelling, chosen_features
    from sae_bridge.judging import (
        Answers,
        Sizes,
        cost,
        identity,
        judge_features,
        judge_named,
        ledger_in,
        read_prompts,
        shown_features,
    )
    from sae_bridge.suites import feature_members, file_name

    first = suite.setting.equal_inference.seeds[0]
    saes = {file_name(*member): suite.sae(*member) for member in feature_members(suite.setting) if member[1] == first}
    nulls = Nulls(suite.store).at(suite.setting.recipe.k, ("coordinates",))
    every = {**saes, **{null.name: null.build().to(suite.device) for null in nulls}}
    sizes, prompts, asked = Sizes(), read_prompts(), judge_named(source, model, device=suite.device)
    spelling = Spelling(suite.model.tokenizer)
    shown = {
        name: shown_features(
            sae, suite.store, chosen_features(sae.n, (), min(sae.n, 4 * count)), spelling, sizes, most=count
        )
        for name, sae in every.items()
    }
    about = {"activations_sha256": suite.store.sha256, "setting": suite.setting.name}
    with Ledger(ledger_in(suite.out / "features" / "judged"), identity(asked, prompts, sizes, about)) as ledger:
        answers = Answers(asked, ledger)
        print(cost(shown, asked, prompts, sizes, answers), flush=True)
        judge_features(shown, answers, prompts, sizes, ledger)
