"""Claim: empirical recovery against the sufficient conditions, on trained decoders and on their masks.

Each trained decoder is an ordinary dictionary; beside it stand sign and Gaussian values on the same mask.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from expander_theory.dictionary import AnyDictionary, Dictionary, load_dictionary
from expander_theory.ensembles import dense_gaussian_dictionary, gaussian_dictionary, sign_dictionary
from expander_theory.ledger import Ledger
from expander_theory.measures import dictionary_measures
from expander_theory.planted import planted_recovery
from expander_theory.progress import progress_bar
from experiments.presets import Preset
from experiments.sae_comparison import names

SOLVERS = ("omp", "topk")


def dictionaries(preset: Preset, saes: Path) -> Iterator[tuple[str, str, AnyDictionary]]:
    """(name, values, dictionary) for the first seed's decoders and their random counterparts."""
    for name, seed, d in names(preset.saes):
        if seed != preset.saes.seeds[0]:
            continue
        trained = load_dictionary(saes / name / "dictionary.safetensors")
        label = "dense" if d is None else f"d = {d}"
        yield label, "trained", trained
        if isinstance(trained, Dictionary):
            yield label, "signs", sign_dictionary(trained.mask, seed=preset.seed)
            yield label, "gaussian", gaussian_dictionary(trained.mask, seed=preset.seed)
        else:
            yield label, "gaussian", dense_gaussian_dictionary(trained.m, trained.n, seed=preset.seed)


def run(preset: Preset, saes: Path, folder: Path) -> None:
    """Measure each dictionary, and plant k-sparse codes on it as k grows.

    A solver's curve stops at the first k with no success at all: larger k are recorded as not run.
    """
    identity = {"kind": "meeting point", "planted": asdict(preset.planted), "saes": asdict(preset.saes)}
    with Ledger(folder / "ledger.jsonl", {**identity, "seed": preset.seed}) as ledger:
        done = {(r["sha256"], r.get("solver")) for r in ledger.records}
        cases = list(dictionaries(preset, saes))
        for name, values, dictionary in progress_bar(cases, unit="dictionary", desc="planted recovery"):
            key = {"dictionary": name, "values": values, "sha256": dictionary.sha256}
            if (dictionary.sha256, None) not in done:
                ledger.append({**key, "measures": dictionary_measures(dictionary)})
            for solver in SOLVERS:
                if (dictionary.sha256, solver) in done:
                    continue
                rates = []
                for rate in planted_recovery(
                    dictionary, preset.planted.ks, trials=preset.planted.trials, solver=solver, seed=preset.seed
                ):
                    rates.append(asdict(rate))
                    if rate.successes == 0:
                        break
                ledger.append({**key, "solver": solver, "rates": rates})
