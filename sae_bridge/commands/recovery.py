"""``expander sae recovery``."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from expander_theory.results import BySize, Calibration, fields_of, with_interval
from expander_theory.simulation import PlantedRate

LAWS = ("own", "signs", "gaussian")


@dataclass(frozen=True)
class Recovery:
    """Compare what theory certifies of a trained decoder with what OMP recovers.

    Certificates, flatness before and after training, planted codes, and the exact recovery coefficient (ERC) of
    real supports beside what OMP does there.
    """

    sae: tyro.conf.Positional[Path]
    """Folder written by `expander sae train`, SAELens or sparsify."""
    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`."""
    supports: int = 200
    """Held-out tokens whose supports are examined."""
    source: Literal["encoder", "omp"] = "encoder"
    """Whose supports."""
    ks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256)
    """Sparsities of the planted Gaussian codes; those above m are left out, and it stops at the first k without a
    success."""
    trials: int = 100
    """Planted codes for each k."""
    time_limit: float = 10.0
    """Seconds for the exhaustive searches of the certificate."""
    seed: int = 0
    """Of tokens and coefficients."""
    out: Path | None = None
    """Also write everything to this JSON file."""
    other_activations: bool = False
    """Accept SAEs that were trained on other text, or that do not say on which activations."""
    other_place: bool = False
    """Accept also SAEs of another layer, hook or language model than these activations'."""
    force: bool = False
    """Overwrite an existing file."""

    def run(self) -> None:
        import sys

        from expander_theory.base import require
        from expander_theory.certificates import best_claims, certify
        from expander_theory.results import require_new, table, write_json
        from expander_theory.simulation import planted_recovery
        from sae_bridge.activations import ActivationStore
        from sae_bridge.commands.loading import load_saes
        from sae_bridge.evaluation import geometry, support_recovery, untrained
        from sae_bridge.sae import SparseAutoencoder

        if self.out is not None:
            require_new(self.out, self.force)
        require(self.time_limit >= 0, "time-limit", self.time_limit, "must be at least 0 seconds")
        store = ActivationStore(self.activations)
        ((sae, fields),) = load_saes(
            [self.sae], store, "cpu", other_activations=self.other_activations, other_place=self.other_place
        ).values()
        dictionary = sae.dictionary().normalised()
        record: dict[str, Any] = {"sae": str(self.sae), "seed": self.seed}

        stages = {"after training": geometry(dictionary)}
        if isinstance(sae, SparseAutoencoder) and isinstance(fields.get("seed"), int):
            stages = {"before training": geometry(untrained(sae, fields["seed"])), **stages}
        record["geometry"] = stages
        print(table([{"decoder": stage, **numbers} for stage, numbers in stages.items()]))

        print("\nCertified for every support:")
        record["certified"] = best_claims(certify(dictionary, time_limit=self.time_limit))
        print("\n".join(record["certified"]))

        rates = []
        ks = [k for k in self.ks if k <= min(dictionary.m, dictionary.n)]
        for rate in planted_recovery(dictionary, ks, trials=self.trials, seed=self.seed):
            rates.append(rate)
            if rate.successes == 0:
                break
        record["planted"] = [asdict(rate) for rate in rates]
        print("\nPlanted Gaussian codes on uniform supports, recovered exactly by OMP:")
        print(table([_planted_row(rate) for rate in rates]))

        found = support_recovery(sae, store, supports=self.supports, source=self.source, seed=self.seed)
        tables = {"calibration": found.calibration(), "by_size": found.by_size()}
        stored = {name: [fields_of(row) for row in rows] for name, rows in tables.items()}
        record["supports"] = {"source": self.source, **found.as_fields(), **stored}
        print(f"\nSupports of held-out tokens by {self.source}, and their strongest features, recovered by OMP:")
        print(table([_size_row(row) for row in tables["by_size"]]))
        print("\nThe same supports by their ERC, predicted against observed:")
        print(table([_calibration_row(row) for row in tables["calibration"]]))
        print("ERC < 1: every code on the support is recovered. own: the coefficients of the token; signs: their")
        print("moduli with random signs; gaussian: Gaussian coefficients.")
        if self.out is not None:
            write_json(self.out, record)
        if found.contradictions():
            sys.exit(f"{found.contradictions()} supports with ERC < 1 were not recovered: this contradicts OMP-1")


def _planted_row(rate: PlantedRate) -> dict[str, Any]:
    return {"k": rate.k, "recovered": f"{rate.rate:.3f} [{rate.low:.3f}, {rate.high:.3f}]"}


def _size_row(row: BySize) -> dict[str, Any]:
    shown = {"features": row.size, "supports": row.supports, "ERC < 1": with_interval(row, "guaranteed")}
    return shown | {law: with_interval(row, law) for law in LAWS}


def _calibration_row(row: Calibration) -> dict[str, Any]:
    upper = "" if row.erc_to is None else f"{row.erc_to:g}"
    shown = {"ERC": f"{row.erc_from:g} to {upper}".strip(), "supports": row.supports, "theory": row.predicted}
    return shown | {law: with_interval(row, law) for law in LAWS}
