"""``expander sae train``."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Train:
    """Train an expander SAE (or the dense reference) on harvested activations; resumes where it stopped."""

    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`."""
    out: tyro.conf.Positional[Path]
    """Folder for the SAE, its decoder as a dictionary, and the metrics."""
    d: int | None = None
    """Nonzeros per decoder column, 1..m; default 8."""
    dense: bool = False
    """Train the dense tied TopK SAE instead (no --d, no --mask)."""
    mask: Path | None = None
    """A mask saved by `expander build`, instead of a uniform random one (no --d, no --n: they are the mask's)."""
    n: int | None = None
    """Features (columns); default 4608."""
    k: int = 32
    """Active features per token."""
    steps: int = 500
    """Optimiser steps."""
    batch: int = 1024
    """Tokens per step."""
    learning_rate: float = 1e-3
    """Peak rate of Adam for the biases; decoder values move at sqrt(m / d) times that."""
    seed: int = 0
    """Seed of the mask, the initial weights and the order of the batches."""

    device: str = "cpu"
    """Torch device: cpu (numba kernels) or cuda (plain torch, still O(d n) a token)."""

    def run(self) -> None:
        from expander_theory.errors import require
        from sae_bridge.activations import ActivationStore
        from sae_bridge.language_models import checked_device
        from sae_bridge.train import Training, train

        require(not (self.dense and self.mask), "mask", self.mask, "does not go with --dense")
        require(self.d is None or not (self.dense or self.mask), "d", self.d, "does not go with --dense or --mask")
        require(self.n is None or self.mask is None, "n", self.n, "does not go with --mask")
        how = Training(
            d=None if self.dense else 8 if self.d is None else self.d,
            n=4608 if self.n is None else self.n,
            k=self.k,
            mask=self.mask,
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            seed=self.seed,
        )
        sae = train(ActivationStore(self.activations), how, self.out, device=checked_device(self.device))
        print(
            f"{self.out}: {type(sae).__name__}, n = {sae.n}, k = {sae.k}, {sae.decoder_values} learned decoder values"
        )
