"""``expander sae import``."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Import:
    """Turn an SAE of SAELens or sparsify into one of this project. Neither needs to be installed.

    For TopK with unit decoder columns (or a mask). SAEs with thresholds mean something that this project's own
    folders cannot hold.
    """

    folder: tyro.conf.Positional[Path]
    """SAELens: cfg.json and sae_weights.safetensors; sparsify: the folder of one hookpoint."""
    out: tyro.conf.Positional[Path]
    """The new folder: the SAE and its decoder as a dictionary."""
    force: bool = False
    """Overwrite an SAE that lies there."""

    def run(self) -> None:
        from expander_theory.base import InvalidFile, require
        from expander_theory.results import require_new
        from sae_bridge.interop import ImportedSAE, load_any
        from sae_bridge.training import DECODER

        require(self.out.resolve() != self.folder.resolve(), "out", self.out, "must be another folder than the SAE's")
        require_new(self.out, self.force)
        sae, fields = load_any(self.folder)
        if isinstance(sae, ImportedSAE):
            why = "has thresholds" if sae.activation == "threshold" else "has decoder columns that are not unit"
            how = "which a folder of this project cannot hold; sae_bridge.interop.load_any reads it where it is"
            raise InvalidFile(self.folder, f"{why}, {how}")
        sae.dictionary().save(self.out / DECODER)
        sae.save(self.out, {**fields, "imported_from": str(self.folder)})
        print(f"{self.out}: {type(sae).__name__}, m = {sae.m}, n = {sae.n}, k = {sae.k}")
