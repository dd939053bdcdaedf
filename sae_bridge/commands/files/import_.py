"""``expander sae import``."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Import:
    """Turn an SAE of SAELens, sparsify or dictionary_learning into one of ours. None needs to be installed.

    For TopK, JumpReLU, (Matryoshka) BatchTopK and Gated SAEs with unit decoder columns, or a mask. SAEs of ReLU, with
    other columns or with activations that are normalised token by token mean something that this project's own folders
    cannot hold.
    """

    folder: tyro.conf.Positional[Path]
    """SAELens: cfg.json and sae_weights.safetensors; sparsify: the folder of one hookpoint;
    dictionary_learning: ae.pt, of which only tensors are read, and config.json."""
    out: tyro.conf.Positional[Path]
    """The new folder: the SAE and its decoder as a dictionary."""
    k: int | None = None
    """JumpReLU, BatchTopK, Gated: the mean number of active features, where the folder does not tell."""
    scaling_factor: float | None = None
    """SAELens, normalize_activations = "expected_average_only_in": by what activations were multiplied in training,
    sqrt(m) / E||h||, where the folder does not tell; 1 if it is folded in."""
    force: bool = False
    """Overwrite an SAE that lies there."""

    def run(self) -> None:
        from expander_theory.base import InvalidFile, require
        from expander_theory.results import require_new
        from sae_bridge.interop import ImportedSAE, load_any
        from sae_bridge.training import DECODER

        require(self.out.resolve() != self.folder.resolve(), "out", self.out, "must be another folder than the SAE's")
        require_new(self.out, self.force)
        sae, fields = load_any(self.folder, k=self.k, scaling_factor=self.scaling_factor)
        if isinstance(sae, ImportedSAE):
            why = sae.unlike_ours
            how = "which a folder of this project cannot hold; sae_bridge.interop.load_any reads it where it is"
            raise InvalidFile(self.folder, f"{why}, {how}")
        sae.dictionary().save(self.out / DECODER)
        sae.save(self.out, {**fields, "imported_from": str(self.folder)})
        print(f"{self.out}: {type(sae).__name__}, m = {sae.m}, n = {sae.n}, k = {sae.k}")
