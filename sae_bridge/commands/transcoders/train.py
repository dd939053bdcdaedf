"""``expander sae transcode``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from sae_bridge.transcoders import TranscoderTraining


@dataclass(frozen=True)
class Transcode:
    """Train transcoders: codes of what a part of a model reads, for what it gives.

    Both places come from one harvest (`expander sae harvest acts --layer 14 --hook mlp_in mlp_out`). Several degrees,
    masks or seeds are trained on the same batches, each into its own folder. A second run resumes where it stopped.
    """

    activations: tyro.conf.Positional[Path]
    """Folder of a harvest of several places."""
    out: tyro.conf.Positional[Path]
    """Folder for the transcoder (cfg.json, sae_weights.safetensors), its decoder as a dictionary, and the metrics;
    several get a folder each in it."""
    input: str = "mlp_in"
    """Hook that is read."""
    output: str = "mlp_out"
    """Hook that is given."""
    layer: int | None = None
    """Layer of both; default: the only one that was harvested."""
    output_layer: int | None = None
    """Layer of the output, if it is another one."""
    cross_layer: tuple[int, ...] = ()
    """Train cross-layer transcoders of these layers: features of each write to its own output and to those after it
    (Ameisen et al. 2025). n and k are then those of one layer, and a column of each pair of layers has d nonzeros."""
    d: tuple[int, ...] = ()
    """Nonzeros per decoder column, 1..m_out; default 8. Several train several transcoders."""
    dense: bool = False
    """Train one with a dense decoder (beside those of --d and --mask, if any)."""
    mask: tuple[Path, ...] = ()
    """Masks of decoders saved by `expander build`, instead of uniform random ones; n is theirs."""
    dense_columns: int = 0
    """How many of the n columns of decoders on masks are dense, 0..n; the others have d nonzeros."""
    d_in: int | None = None
    """Nonzeros per row of the encoder, on a random mask of its own; default: a dense encoder."""
    same_mask: bool = False
    """Put the encoder on the decoder's mask, with values of its own, where both widths agree."""
    skip: bool = False
    """Add a linear map from the input to the output, started at zero (Paulo et al. 2025)."""
    seed: tuple[int, ...] = (0,)
    """Seeds of the masks and the initial weights; the order of the data is the same for all."""
    n: int = 4608
    """Features."""
    k: int = 32
    """Active features per token."""
    activation: Literal["topk", "batch_topk"] = "topk"
    """k features for each token, or k a token on average over a batch."""
    selection: Literal["signed", "magnitude"] = "signed"
    """signed: the largest scores, then ReLU; magnitude: the largest magnitudes with their signs."""
    steps: int = 500
    """Optimiser steps."""
    batch: int = 1024
    """Tokens per step."""
    order_seed: int = 0
    """Seed of the order of the data."""
    learning_rate: float = 4e-3
    """Peak rate of Adam; values on masks move at sqrt(width / d) times that (see --no-scale-rate)."""
    scale_rate: bool = True
    """Whether values on masks move at sqrt(width / d) times the rate."""
    warm_up: float = 0.05
    """Share of the steps over which the rate rises; then it falls along a cosine."""
    clip: float | None = 1.0
    """Largest norm of the gradient."""
    revival: Literal["auxk", "none"] = "auxk"
    """For dead features: the auxiliary loss of Gao et al. 2024, or nothing."""
    dead_after: int = 50_000
    """Tokens without firing after which AuxK counts a feature as dead."""
    device: str = "cpu"
    """Torch device: cpu (numba kernels) or cuda (Triton kernels)."""
    memory: float = 4.0
    """GiB of activations in memory at a time; a shuffled window of the data."""
    log_every: int = 25
    """Steps between two records in metrics.jsonl."""
    checkpoint_every: int = 250
    """Steps between two checkpoints. Ctrl-C and SIGTERM save one more; a killed run loses what came after the last."""

    def run(self) -> None:
        from expander_theory.base import require
        from sae_bridge.models import checked_device
        from sae_bridge.transcoders import layers_store, paired_store, train_transcoders

        require(self.memory > 0, "memory", self.memory, "must be positive")
        runs = self.runs()
        if self.cross_layer:
            for name in ("layer", "output_layer"):
                require(getattr(self, name) is None, name, getattr(self, name), "must not be given with cross_layer")
            store = layers_store(self.activations, self.cross_layer, self.input, self.output)
        else:
            there = self.layer if self.output_layer is None else self.output_layer
            store = paired_store(self.activations, (self.layer, self.input), (there, self.output))
        made = train_transcoders(
            runs,
            store,
            self.out,
            batch=self.batch,
            order_seed=self.order_seed,
            memory_bytes=int(self.memory * 2**30),
            device=checked_device(self.device),
            log_every=self.log_every,
            checkpoint_every=self.checkpoint_every,
        )
        for name, one in made.items():
            kind, widths = type(one).__name__, f"{one.m_in} -> {one.m}"
            print(f"{self.out / name}: {kind}, {widths}, n = {one.n}, k = {one.k}, {one.decoder_values} decoder values")

    def runs(self) -> "dict[str, TranscoderTraining]":
        """The recipes by name of their folder; "." for a single one."""
        from expander_theory.base import require
        from sae_bridge.transcoders import TranscoderTraining

        shared = (
            *("n", "k", "activation", "selection", "steps", "learning_rate", "scale_rate", "warm_up", "clip"),
            *("revival", "dead_after", "d_in", "skip"),
        )
        how = {name: getattr(self, name) for name in shared} | {"layers": len(self.cross_layer) or None}
        degrees = self.d or (() if self.dense or self.mask else (8,))
        for name, values in (("d", degrees), ("seed", self.seed), ("mask", self.mask)):
            require(len(set(values)) == len(values), name, values, "must not repeat")
        require(len(self.seed) > 0, "seed", "none", "must name at least one")
        stems = [path.stem for path in self.mask]
        require(len(set(stems)) == len(stems), "mask", stems, "must have different names: they become folders")
        on_mask = {"dense_columns": self.dense_columns, "same_mask": self.same_mask}
        runs = {
            f"{label}-seed{seed}": TranscoderTraining(
                d=d, mask=mask, seed=seed, **how, **({} if label == "dense" else on_mask)
            )
            for seed in self.seed
            for label, d, mask in (
                *([("dense", None, None)] if self.dense else []),
                *((f"d{d}", d, None) for d in degrees),
                *((path.stem, None, path) for path in self.mask),
            )
        }
        return {".": next(iter(runs.values()))} if len(runs) == 1 else runs
