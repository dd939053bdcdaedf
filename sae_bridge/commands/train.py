"""``expander sae train``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from sae_bridge.commands.sources.harvest_options import HarvestOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sae_bridge.commands.sources.streams import Source
    from sae_bridge.training import Training


@dataclass(frozen=True)
class Train:
    """Train expander SAEs, or the dense reference, on harvested activations. A second run resumes where it stopped.

    Several degrees, masks or seeds are trained on one stream of activations at once, each into its own folder.
    Under `torchrun --no-python -- expander sae train ...` processes share every batch, the SAEs (--split saes)
    or the features of each SAE (--split features). From a harvest of several places, all are trained at each place,
    one place after another. With --live nothing is stored: `expander sae train default out --live --layer 14`.
    """

    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`; with --live a language model, as its --model."""
    out: tyro.conf.Positional[Path]
    """Folder for the SAE (cfg.json, sae_weights.safetensors), its decoder as a dictionary, and the metrics; several
    SAEs get a folder each in it, those of several places in a folder of each place."""
    place: tuple[str, ...] = ()
    """Places of a harvest of several, such as layer14.resid_post; default: all of them."""
    live: bool = False
    """Train straight on a language model: text, places and tokens are said by the options of harvests. The model runs
    in every pass over more tokens than fit into --memory; the next ones are computed while the SAEs are trained. A
    later harvest of the same text and place is accepted by `expander sae eval`."""
    harvest: tyro.conf.OmitArgPrefixes[HarvestOptions] = field(default_factory=HarvestOptions)
    """With --live."""
    forward_batch: int = 8
    """With --live: contexts per forward pass."""
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
    activation: Literal["topk", "batch_topk", "jumprelu", "gated"] = "topk"
    """topk: k features for each token; batch_topk: k a token on average over a batch; jumprelu, gated: those above a
    learned threshold of each feature, k on average."""
    groups: tuple[int, ...] | None = None
    """Matryoshka, with topk and batch_topk: sizes of the prefixes of features that reconstruct on their own; without
    sizes 1/32, 3/32, 7/32 and 15/32 of n. The last is n, and need not be said."""
    sparsity_weight: float | None = None
    """Weight of the penalty of jumprelu (on L0) or gated (on the gate's L1); default: mean L0 is steered to k."""
    sparsity_warm_up: float = 0.005
    """Share of the steps over which that weight rises from 0."""
    bandwidth: float = 1e-3
    """Of jumprelu's pseudo-derivatives, where activations have a mean square norm of 1."""
    initial_threshold: float | None = None
    """What a score of jumprelu or gated must exceed at first, where activations have a mean square norm of 1; default:
    what gives L0 = k on a sample. The papers: .001 for jumprelu, 0 for gated."""
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
    split: Literal["batch", "saes", "features"] = "batch"
    """What the processes of torchrun split: each batch, the SAEs, or the features of each SAE, which then need not fit
    into one."""
    memory: float | None = None
    """GiB of activations in memory at a time; a shuffled window of the data. Default: 4, or 0.5 with --live, which
    holds the next window as well."""
    log_every: int = 25
    """Steps between two records in metrics.jsonl."""
    checkpoint_every: int = 250
    """Steps between two checkpoints. Ctrl-C and SIGTERM save one more; a killed run loses what came after the last."""
    checkpoint_minutes: float | None = None
    """Also save a checkpoint when so many minutes have gone since the last, at the next record of metrics."""
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where metrics go besides metrics.jsonl."""

    def run(self) -> None:
        from sae_bridge.models import checked_device
        from sae_bridge.training import Diverged, FeatureShard, train, world

        runs = self.runs()
        device = checked_device(self.device)
        failed = []
        with world(self.split) as here:
            for source in self._sources():
                folder = self.out / source.place
                try:
                    saes = train(
                        runs,
                        source.stream,
                        folder,
                        device=device,
                        world=here,
                        about={**source.about, "language_model": source.about["model"]},
                        log_every=self.log_every,
                        checkpoint_every=self.checkpoint_every,
                        checkpoint_minutes=self.checkpoint_minutes,
                        report_to=self.report_to,
                    )
                except Diverged as error:  # the other places go on
                    failed.append(str(error))
                    continue
                for name, sae in saes.items() if here.writes else ():
                    kind, count = type(sae).__name__, sae.decoder_values
                    of = f", of {sae.part.n} in {here.size} processes" if isinstance(sae, FeatureShard) else ""
                    print(f"{folder / name}: {kind}, n = {sae.n}{of}, k = {sae.k}, {count} learned decoder values")
        if failed:
            raise Diverged("\n".join(failed))

    def _sources(self) -> "Iterator[Source]":
        """The streams, place by place; what is said wrong is refused before the first."""
        from dataclasses import fields

        from expander_theory.base import require
        from sae_bridge.activations import TextSource
        from sae_bridge.commands.sources.streams import Order, chosen_stores, live_sources, stored_sources
        from sae_bridge.models import load_language_model

        memory = (0.5 if self.live else 4.0) if self.memory is None else self.memory
        require(memory > 0, "memory", memory, "must be positive")
        order = Order(self.batch, self.order_seed, memory)
        if self.live:
            require(not self.place, "place", list(self.place), "is of stores: use --layer and --hook with --live")
            what = self.harvest.what(batch=self.forward_batch)
            text = TextSource(self.harvest.text)
            model = load_language_model(str(self.activations), device=self.device)
            return live_sources(model, text, what, self.harvest.places(model), order)
        plain = HarvestOptions()
        for option in fields(HarvestOptions):
            said = getattr(self.harvest, option.name)
            same = said == getattr(plain, option.name)
            require(same, option.name.replace("_", "-"), said, "is for --live: a store's tokens are what they are")
        return stored_sources(chosen_stores(self.activations, self.place), order)

    def runs(self) -> "dict[str, Training]":
        """The recipes by name of their folder; "." for a single one."""
        from expander_theory.base import require
        from sae_bridge.training import Training

        shared = (
            *("n", "k", "encoder", "activation", "selection", "steps", "learning_rate", "scale_rate", "warm_up"),
            *("final_rate", "clip", "centre", "revival", "dead_after", "precision", "groups", "sparsity_weight"),
            *("sparsity_warm_up", "bandwidth", "initial_threshold"),
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
