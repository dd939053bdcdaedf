"""``expander sae gap``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from expander_theory.results import InferenceRow, fields_of, with_interval


@dataclass(frozen=True)
class Gap:
    """Measure the amortisation gap of SAEs.

    Codes by the encoder, by pursuits and by least squares on its support, at the same k.

    SAEs may be this project's, SAELens's or sparsify's.
    """

    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`."""
    saes: tyro.conf.Positional[tuple[Path, ...]]
    """Folders written by `expander sae train`, SAELens or sparsify."""
    methods: tuple[str, ...] = ()
    """encoder, least_squares, least_squares_nonnegative, mp, omp, omp_signed, omp_nonnegative, gomp, niht, cosamp;
    default: those up to omp, and omp_nonnegative."""
    model: str | None = None
    """The language model; default: the one that the activations were harvested from."""
    no_model: bool = False
    """Leave out what needs the language model: CE recovered, delta CE, KL."""
    k: int | None = None
    """For imported SAEs with thresholds: how many features the other methods get."""
    resample: Literal["documents", "contexts"] | None = None
    """What the intervals resample; default: documents, or contexts where there are fewer than 10 documents."""
    out: Path | None = None
    """Also write everything to this JSON file."""
    other_activations: bool = False
    """Accept SAEs that were trained on other text, or that do not say on which activations."""
    other_place: bool = False
    """Accept also SAEs of another layer, hook or language model than these activations'."""
    force: bool = False
    """Overwrite an existing file."""
    device: str = "cpu"
    """Torch device of the model and the SAEs."""

    def run(self) -> None:
        from expander_theory.base import require
        from expander_theory.results import require_new, table, write_json
        from sae_bridge.activations import ActivationStore
        from sae_bridge.codes import DEFAULT_METHODS, METHODS
        from sae_bridge.commands.loading import load_saes
        from sae_bridge.evaluation import amortisation_gap
        from sae_bridge.models import load_language_model

        if self.out is not None:
            require_new(self.out, self.force)
        require(not (self.no_model and self.model), "model", self.model, "cannot be given with --no-model")
        store = ActivationStore(self.activations)
        saes = load_saes(
            self.saes,
            store,
            self.device,
            other_activations=self.other_activations,
            other_place=self.other_place,
            k=self.k,
        )
        name = self.model or store.description["model"]
        model = None if self.no_model else load_language_model(name, device=self.device)
        methods = self.methods or DEFAULT_METHODS
        rows: list[tuple[Any, InferenceRow]] = []
        for folder, (sae, _) in saes.items():
            found = amortisation_gap(sae, store, model, methods=methods, resample=self.resample)
            rows += [(folder, row) for row in found]
        print(table([_row(*row) for row in rows]))
        print(f"\nFVU, overlap with the encoder's support (share of k) on {rows[0][1].tokens:,} held-out tokens.")
        for method in dict.fromkeys(row.method for _, row in rows):
            print(f"{method}: {METHODS[method].about}.")
        print(
            "Only codes of the encoder's class (>= 0 after ReLU) are comparable; free signs bound what k features can."
        )
        if self.out is not None:
            write_json(self.out, [{"sae": folder, **fields_of(row)} for folder, row in rows])


def _row(folder: Any, row: InferenceRow) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "SAE": folder,
        "codes": row.method,
        "FVU": with_interval(row, "fvu"),
        "comparable": "yes" if row.comparable else "no",
        "L0": row.l0,
        "overlap": with_interval(row, "overlap"),
        "seconds": row.seconds,
    }
    if row.delta is not None:
        shown |= {
            "CE recovered (zero)": with_interval(row, "recovered_zero"),
            "delta CE": with_interval(row, "delta"),
            "KL": with_interval(row, "kl"),
        }
    return shown
