"""``expander sae eval``."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Evaluate:
    """FVU, L0, dead features and CE-loss recovered of trained SAEs on held-out text, in one table."""

    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`."""
    saes: tyro.conf.Positional[tuple[Path, ...]]
    """Folders written by `expander sae train`."""
    model: str | None = None
    """The language model; default: the one that the activations were harvested from."""
    out: Path | None = None
    """Also write everything to this JSON file."""
    other_activations: bool = False
    """Accept SAEs that were trained on other activations than these (another layer, model or text)."""
    force: bool = False
    """Overwrite an existing file."""
    device: str = "cpu"
    """Torch device of the model and the SAEs."""

    def run(self) -> None:
        from expander_theory.commands.output import require_new, table, write_json
        from expander_theory.errors import require
        from expander_theory.sae_rows import table_row
        from sae_bridge.activations import ActivationStore
        from sae_bridge.evaluate import BASELINE, baseline_losses, evaluation_row, require_trained_on
        from sae_bridge.language_models import checked_device, load_language_model
        from sae_bridge.sae import load_sae

        require(len(self.saes) > 0, "saes", "none", "name at least one folder of `expander sae train`")
        if self.out is not None:
            require_new(self.out, self.force)
        store = ActivationStore(self.activations)
        device = checked_device(self.device)
        saes = []
        for folder in self.saes:
            sae, training = load_sae(folder / "sae.safetensors")
            require(sae.m == store.m, str(folder), f"m = {sae.m}", f"must have the activations' width {store.m}")
            if not self.other_activations:
                require_trained_on(store, training, folder)
            saes.append((str(folder), sae.to(device)))
        model = load_language_model(self.model or store.description["model"], device=self.device)
        baselines = baseline_losses(model, store)
        rows = [evaluation_row(name, sae, model, store, baselines) for name, sae in saes]
        print(table([table_row(row) for row in rows]))
        print(f"\n{BASELINE}")
        if self.out is not None:
            write_json(self.out, rows)
