"""``expander sae train``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from sae_bridge.training import Training


@dataclass(frozen=True)
class Train:
    """Train expander SAEs, or the dense reference, on harvested activations. A second run resumes where it stopped.

    Several degrees, masks or seeds are trained on one stream of activations at once, each into its own folder.
    Under `torchrun --no-python -- expander sae train ...` processes share every batch, or the SAEs (--split saes).
    """

    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`."""
    out: tyro.conf.Positional[Path]
    """Folder for the SAE (cfg.json, sae_weights.safetensors), its decoder as a dictionary, and the metrics; several
    SAEs get a folder each in it."""
    d: tuple[int, ...] = ()
    """Nonzeros per decoder column, 1..m; default 8. Several train several SAEs."""
    dense: bool = False
    """Train the dense SAE (beside those of --d and --mask, if any)."""
    mask: tuple[Path, ...] = ()
    """Masks saved by `expander build`, instead of uniform random ones; n is theirs (and the dense columns')."""
    dense_columns: int = 0
    """How many of the n columns of SAEs on masks are dense, 0..n; the others have d nonzeros."""
    seed: tuple[int, ...] = (0,)
    """Seeds of the masks and the initial weights; the order of the data is the same for all."""
    n: int = 4608
    """Features (columns)."""
    k: int = 32
    """Active features per token."""
    encoder: Literal["tied", "warm", "random", "omp", "omp_nonnegative"] = "tied"
    """tied to the decoder; warm: free, started at its transpose; random: free, with its own start; omp: orthogonal
    matching pursuit on the decoder, in training and ever after; omp_nonnegative: the same with codes >= 0."""
    activation: Literal["topk", "batch_topk"] = "topk"
    """k features for each token, or k a token on average over a batch."""
    selection: Literal["signed", "magnitude"] | None = None
    """signed: the largest scores, then ReLU; magnitude: the largest magnitudes with their signs. Default: signed, or
    what the pursuit has."""
    steps: int = 500
    """Optimiser steps."""
    batch: int = 1024
    """Tokens per step."""
    order_seed: int = 0
    """Seed of the order of the data."""
    learning_rate: float = 4e-3
    """Peak rate of Adam; decoder values move at sqrt(m / d) times that (see --no-scale-rate)."""
    scale_rate: bool = True
    """Whether decoder values move at sqrt(m / d) times the rate."""
    warm_up: float = 0.05
    """Share of the steps over which the rate rises; then it falls along a cosine."""
    final_rate: float = 0.01
    """Rate at the end, as a share of the peak."""
    clip: float | None = 1.0
    """Largest norm of the gradient."""
    centre: Literal["mean", "geometric_median"] = "mean"
    """Where b_dec starts."""
    revival: Literal["auxk", "resample", "none"] = "auxk"
    """For dead features: the auxiliary loss of Gao et al. 2024, the resampling of the paper's code, or nothing."""
    dead_after: int = 50_000
    """Tokens without firing after which AuxK counts a feature as dead."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: dense products under autocast; parameters stay float32."""
    supports: Literal["fixed", "gradient", "momentum", "random"] = "fixed"
    """Whether masks are learned: columns give up their smallest values for rows of large gradient, in one batch or in
    the last ten (momentum), or for random rows."""
    regrow_every: int = 5
    """Steps between two such moves."""
    regrow_share: float = 0.3
    """Share of a column's rows that moves at first; it falls along a cosine."""
    regrow_until: float = 0.9
    """Share of the steps after which supports stay."""
    device: str = "cpu"
    """Torch device: cpu (numba kernels) or cuda (Triton kernels)."""
    split: Literal["batch", "saes"] = "batch"
    """What the processes of torchrun share."""
    memory: float = 4.0
    """GiB of activations in memory at a time; a shuffled window of the data."""
    log_every: int = 25
    """Steps between two records in metrics.jsonl."""
    checkpoint_every: int = 250
    """Steps between two checkpoints. Ctrl-C and SIGTERM save one more; a killed run loses what came after the last."""
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where metrics go besides metrics.jsonl."""

    def run(self) -> None:
        from expander_theory.base import require
        from sae_bridge.activations import ActivationStore, StoredStream
        from sae_bridge.models import checked_device
        from sae_bridge.training import train, world

        require(self.memory > 0, "memory", self.memory, "must be positive")
        store = ActivationStore(self.activations)
        runs = self.runs()
        device = checked_device(self.device)
        stream = StoredStream(store, self.batch, self.order_seed, int(self.memory * 2**30))
        about = {key: store.description[key] for key in ("model", "model_fingerprint", "layer", "hook", "context")}
        with world(self.split) as here:
            saes = train(
                runs,
                stream,
                self.out,
                device=device,
                world=here,
                about={**about, "language_model": about["model"]},
                log_every=self.log_every,
                checkpoint_every=self.checkpoint_every,
                report_to=self.report_to,
            )
        if here.writes:
            for name, sae in saes.items():
                kind, count = type(sae).__name__, sae.decoder_values
                print(f"{self.out / name}: {kind}, n = {sae.n}, k = {sae.k}, {count} learned decoder values")

    def runs(self) -> "dict[str, Training]":
        """The recipes by name of their folder; "." for a single one."""
        from expander_theory.base import require
        from sae_bridge.training import Training

        shared = (
            *("n", "k", "encoder", "activation", "selection", "steps", "learning_rate", "scale_rate", "warm_up"),
            *("final_rate", "clip", "centre", "revival", "dead_after", "precision"),
        )
        masked = ("dense_columns", "supports", "regrow_every", "regrow_share", "regrow_until")
        how = {name: getattr(self, name) for name in shared}
        degrees = self.d or (() if self.dense or self.mask else (8,))
        for name, values in (("d", degrees), ("seed", self.seed), ("mask", self.mask)):
            require(len(set(values)) == len(values), name, values, "must not repeat")
        require(len(self.seed) > 0, "seed", "none", "must name at least one")
        stems = [path.stem for path in self.mask]
        require(len(set(stems)) == len(stems), "mask", stems, "must have different names: they become folders")
        on_mask = {name: getattr(self, name) for name in masked}
        runs = {
            f"{label}-seed{seed}": Training(d=d, mask=mask, seed=seed, **how, **({} if label == "dense" else on_mask))
            for seed in self.seed
            for label, d, mask in (
                *([("dense", None, None)] if self.dense else []),
                *((f"d{d}", d, None) for d in degrees),
                *((path.stem, None, path) for path in self.mask),
            )
        }
        return {".": next(iter(runs.values()))} if len(runs) == 1 else runs
