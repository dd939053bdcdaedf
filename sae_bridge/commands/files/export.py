"""``expander sae export``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Export:
    """Write a trained SAE for SAELens, sparsify, dictionary_learning or delphi.

    None of them needs to be installed.

    The exported SAE codes raw activations: reconstructions are the same, decoder columns are unit, and codes are
    the SAE's own divided by its scale.
    """

    sae: tyro.conf.Positional[Path]
    """Folder written by `expander sae train`."""
    out: tyro.conf.Positional[Path]
    """The new folder."""
    format: Literal["saelens", "saelens-expander", "sparsify", "dictionary-learning", "delphi"] = "saelens"
    """saelens: densified, for SAELens as it is; saelens-expander: keeps the mask, for SAELens after
    `import sae_bridge.interop.native`; sparsify: densified, in a folder named as the hookpoint; dictionary-learning:
    densified, ae.pt and config.json; delphi: what it has as its cache of firings, on the text of --activations."""
    model_name: str | None = None
    """saelens: the language model's name in TransformerLens; default: as it was harvested."""
    hookpoint: str | None = None
    """sparsify: the module whose output is coded, in the model's own names; default: layers.N, from the training."""
    activations: Path | None = None
    """delphi: folder written by `expander sae harvest`."""
    contexts: int | None = None
    """delphi: only the first so many contexts of its training text; default: all."""
    force: bool = False
    """Overwrite an SAE that lies there."""

    def run(self) -> None:
        from expander_theory.base import require
        from expander_theory.results import require_new
        from sae_bridge.interop import export_dictionary_learning, export_native, export_saelens, export_sparsify
        from sae_bridge.sae import load_sae

        sparsify = self.format == "sparsify"
        lens = self.format in ("saelens", "saelens-expander")
        require(self.model_name is None or lens, "model-name", self.model_name, "is for the saelens formats")
        require(self.hookpoint is None or sparsify, "hookpoint", self.hookpoint, "is for the format sparsify")
        require(self.out.resolve() != self.sae.resolve(), "out", self.out, "must be another folder than the SAE's")
        delphi = self.format == "delphi"
        given = self.activations is not None
        require(given == delphi, "activations", self.activations, "goes with the format delphi, which needs it")
        if delphi:
            self._to_delphi()
            return
        require_new(self.out, self.force)
        sae, fields = load_sae(self.sae)
        where = self.out
        if sparsify:
            where = export_sparsify(sae, self.out, fields, hookpoint=self.hookpoint)
        elif self.format == "dictionary-learning":
            export_dictionary_learning(sae, self.out, fields)
        else:
            write = export_saelens if self.format == "saelens" else export_native
            write(sae, self.out, fields, model_name=self.model_name)
        codes = f"codes are those of {self.sae} / {float(sae.scale):.6g}"
        print(f"{where}: {self.format}, m = {sae.m}, n = {sae.n}; {codes}")

    def _to_delphi(self) -> None:
        from sae_bridge.activations import ActivationStore
        from sae_bridge.commands.loading import load_saes
        from sae_bridge.judging import export_delphi

        assert self.activations is not None
        store = ActivationStore(self.activations)
        loaded = load_saes([self.sae], store, "cpu", other_activations=True, other_place=False)
        module = export_delphi(loaded[str(self.sae)][0], store, self.out, contexts=self.contexts)
        print(f"{module}: delphi's cache of firings")
