"""``expander sae eval``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Evaluate:
    """Evaluate trained SAEs on held-out text. FVU, L0, dead features, CE-loss recovered and KL, in one table."""

    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`."""
    saes: tyro.conf.Positional[tuple[Path, ...]]
    """Folders written by `expander sae train`, SAELens or sparsify."""
    model: str | None = None
    """The language model; default: the one that the activations were harvested from."""
    positions: Literal["kept", "all"] = "kept"
    """Where reconstructions replace activations: the positions that count by the token policy, or all."""
    baseline: Literal["kept", "all"] = "kept"
    """Where zero and mean ablation act: the positions that count, or all (as sae-lens and others do)."""
    resample: Literal["documents", "contexts"] | None = None
    """What the intervals resample; default: documents, or contexts where there are fewer than 10 documents."""
    training_tokens: int | None = None
    """Training tokens that dead features are judged on besides the held-out ones; default: all."""
    out: Path | None = None
    """Also write everything to this JSON file."""
    other_activations: bool = False
    """Accept SAEs that were trained on other text, or that do not say on which activations."""
    other_place: bool = False
    """Accept also SAEs of another layer, hook or language model than these activations'."""
    k: int | None = None
    """For imported SAEs with thresholds, which do not say it."""
    force: bool = False
    """Overwrite an existing file."""
    device: str = "cpu"
    """Torch device of the model and the SAEs."""

    def run(self) -> None:
        from expander_theory.results import fields_of, require_new, table, table_row, write_json
        from sae_bridge.activations import ActivationStore
        from sae_bridge.commands.loading import load_saes
        from sae_bridge.evaluation import DENSE_SHARE, conventions, evaluation_rows
        from sae_bridge.models import load_language_model

        if self.out is not None:
            require_new(self.out, self.force)
        store = ActivationStore(self.activations)
        saes = load_saes(
            self.saes,
            store,
            self.device,
            other_activations=self.other_activations,
            other_place=self.other_place,
            k=self.k,
        )
        model = load_language_model(self.model or store.description["model"], device=self.device)
        rows = evaluation_rows(
            {folder: sae for folder, (sae, _) in saes.items()},
            model,
            store,
            positions=self.positions,
            baseline=self.baseline,
            resample=self.resample,
            training_tokens=self.training_tokens,
        )
        print(table([table_row(row) for row in rows]))
        first = rows[0]
        print(f"\n{conventions(first.positions, first.baseline, first.resample)}")
        print(
            f"Dead: fire on none of {first.seen_tokens:,} tokens; dense: on more than {DENSE_SHARE:.0%} "
            f"of {first.tokens:,} held-out tokens."
        )
        if self.out is not None:
            write_json(self.out, [fields_of(row) for row in rows])
