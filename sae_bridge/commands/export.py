"""``expander sae export``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Export:
    """Write a trained SAE as a folder of SAELens or sparsify. Neither needs to be installed.

    The exported SAE codes raw activations: reconstructions are the same, decoder columns are unit, and codes are
    the SAE's own divided by its scale.
    """

    sae: tyro.conf.Positional[Path]
    """Folder written by `expander sae train`."""
    out: tyro.conf.Positional[Path]
    """The new folder."""
    format: Literal["saelens", "saelens-expander", "sparsify"] = "saelens"
    """saelens: densified, for SAELens as it is; saelens-expander: keeps the mask, for SAELens after
    `import sae_bridge.interop.native`; sparsify: densified, in a folder named as the hookpoint."""
    model_name: str | None = None
    """saelens: the language model's name in TransformerLens; default: as it was harvested."""
    hookpoint: str | None = None
    """sparsify: the module whose output is coded, in the model's own names; default: layers.N, from the training."""
    force: bool = False
    """Overwrite an SAE that lies there."""

    def run(self) -> None:
        from expander_theory.base import require
        from expander_theory.results import require_new
        from sae_bridge.interop import export_native, export_saelens, export_sparsify
        from sae_bridge.sae import load_sae

        sparsify = self.format == "sparsify"
        require(self.model_name is None or not sparsify, "model-name", self.model_name, "is for the saelens formats")
        require(self.hookpoint is None or sparsify, "hookpoint", self.hookpoint, "is for the format sparsify")
        require(self.out.resolve() != self.sae.resolve(), "out", self.out, "must be another folder than the SAE's")
        require_new(self.out, self.force)
        sae, fields = load_sae(self.sae)
        where = self.out
        if sparsify:
            where = export_sparsify(sae, self.out, fields, hookpoint=self.hookpoint)
        else:
            write = export_saelens if self.format == "saelens" else export_native
            write(sae, self.out, fields, model_name=self.model_name)
        codes = f"codes are those of {self.sae} / {float(sae.scale):.6g}"
        print(f"{where}: {self.format}, m = {sae.m}, n = {sae.n}; {codes}")
