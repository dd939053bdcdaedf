"""Claim: empirical recovery against the sufficient conditions, on trained decoders.

Planted codes with uniform supports on each decoder, and on signs on the same mask; and codes planted on the supports of
real activations, each with its exact recovery coefficient (ERC): predicted against observed.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expander_theory.results import PlantedPoint
    from sae_bridge.suites import SAESuite

_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""k of the cumulative coherence mu_1(k)."""
_CERTIFY_SECONDS = 2.0
"""For the search of losing sets, for each decoder."""


def run(suite: SAESuite) -> None:
    """Measure what the ledger does not hold yet."""
    from expander_theory.base import progress_bar
    from expander_theory.certificates import certify, write_certificate
    from expander_theory.dictionaries import Dictionary, dense_gaussian_dictionary, dictionary_measures, sign_dictionary
    from expander_theory.results import DictionaryMeasures, Ledger, RecoveryRecord
    from sae_bridge.evaluation import support_recovery
    from sae_bridge.suites import architecture, file_name

    setting = suite.setting
    seed = setting.control_seeds[0]
    members = [(architecture(setting.recipe, d), seed) for d in setting.degrees]
    suite.train(members)
    identity: dict[str, Any] = {
        "kind": "recovery",
        "setting": setting.name,
        "activations_sha256": suite.store.sha256,
        "model": suite.store.description["model"],
        "supports": setting.supports,
        "planted_ks": setting.planted_ks,
        "planted_trials": setting.planted_trials,
        "seed": seed,
    }
    with Ledger(suite.out / "recovery" / "ledger.jsonl", identity) as ledger:
        done = {record.name for record in ledger.of(RecoveryRecord)}
        todo = [member for member in members if file_name(*member) not in done]
        for variant, seed in progress_bar(todo, unit="decoder", desc="recovery", show=bool(todo)):
            sae = suite.sae(variant, seed)
            trained = sae.dictionary()
            if isinstance(trained, Dictionary):
                random = sign_dictionary(trained.mask, seed=seed)
            else:
                random = dense_gaussian_dictionary(trained.m, trained.n, seed=seed)
            if isinstance(trained, Dictionary):
                path = suite.out / "certificates" / f"{file_name(variant, seed)}.json"
                write_certificate(certify(trained, time_limit=_CERTIFY_SECONDS), path)
            real = support_recovery(sae, suite.store, supports=setting.supports, seed=seed, progress=False)
            ledger.append(
                RecoveryRecord(
                    name=file_name(variant, seed),
                    label=variant.label,
                    d=sae.weight.shape[1],
                    k=sae.k,
                    dense=sae.mask is None,
                    measures=DictionaryMeasures.of(dictionary_measures(trained)),
                    cumulative_coherence={"trained": _coherence(trained), "random values": _coherence(random)},
                    planted={
                        "trained": _planted(trained, setting, seed),
                        "random values": _planted(random, setting, seed),
                    },
                    by_size=tuple(real.by_size()),
                    calibration=tuple(real.calibration()),
                    contradictions=real.contradictions(),
                )
            )


def _coherence(dictionary: Any) -> tuple[tuple[int, float], ...]:
    """Pairs k, mu_1(k)."""
    from expander_theory.dictionaries import babel

    sums = babel(dictionary, min(_SIZES[-1], dictionary.n - 1))
    return tuple((k, float(sums[k - 1])) for k in _SIZES if k <= len(sums))


def _planted(dictionary: Any, setting: Any, seed: int) -> tuple[PlantedPoint, ...]:
    """Rates over k, up to the first k with no success."""
    from expander_theory.results import PlantedPoint
    from expander_theory.simulation import planted_recovery

    rates = []
    for rate in planted_recovery(
        dictionary, setting.planted_ks, trials=setting.planted_trials, solver="omp", seed=seed
    ):
        rates.append(PlantedPoint(**asdict(rate)))
        if rate.successes == 0:
            break
    return tuple(rates)
