"""How one SAE is built and trained: every choice, with its source."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from expander_theory.base import require, require_choice, require_int, require_seed
from expander_theory.masks import Mask, load_mask, uniform_mask
from expander_theory.results import stored_sha256
from sae_bridge.sae import (
    PURSUITS,
    THRESHOLDED,
    WEIGHTS,
    Activation,
    BlockSAE,
    Encoder,
    ExpanderSAE,
    Selection,
    SparseAutoencoder,
    TopKSAE,
    group_sizes,
    load_sae,
    require_nested,
    resolved_selection,
)
from sae_bridge.training.finetuning import Finetuning

Centre = Literal["mean", "geometric_median"]
Revival = Literal["auxk", "resample", "none"]
Precision = Literal["float32", "bfloat16"]
Supports = Literal["fixed", "gradient", "momentum", "random"]
_OF_THRESHOLDS = ("sparsity_weight", "sparsity_warm_up", "bandwidth", "initial_threshold")
_NEWER = ("pursuit_steps", "rank", "mean_degree", "dense_columns", "finetuned", "groups", *_OF_THRESHOLDS)
_OF_SUPPORTS = ("supports", "regrow_every", "regrow_share", "regrow_until")


@dataclass(frozen=True)
class Training:
    """One SAE and its training.

    Attributes:
        d: nonzeros per decoder column; None for the dense reference.
        n: features, dense columns included.
        k: active features per token; on average for BatchTopK, and what the mean is steered to for JumpReLU and Gated.
        mask: a saved mask to use instead of a uniform random one (then d is the mask's, and n too, beside dense
            columns).
        encoder: "tied"; "warm": untied, started at W^T; "random": untied, with its own start; "omp" or
            "omp_nonnegative": the SAE's codes are those of a pursuit on its decoder, in training and ever after.
        activation: "topk", "batch_topk", "jumprelu" or "gated"; the last two have a threshold for each feature, learned
            with a penalty on sparsity (:mod:`sae_bridge.training.objectives`).
        selection: "signed" keeps the largest scores, then ReLU; "magnitude" the largest magnitudes with their signs;
            None is "signed", or what a pursuit has.
        steps: optimiser steps.
        learning_rate: peak rate of Adam (betas 0.9 and 0.999).
        scale_rate: decoder and encoder values move at sqrt(m / d) times the rate. A unit column on d rows has entries
            of size 1/sqrt(d) and Adam moves each by about the rate, so the relative step of a column is then the same
            for all d; dense is d = m. Without it (the recipe of the paper's code) the best rate grows as d falls.
        warm_up: share of the steps over which the rate rises from 0; then it falls along a cosine.
        final_rate: rate at the end, as a share of the peak.
        clip: largest l2 norm of the gradient of all parameters; None for no clipping. The loss is scaled so that
            predicting zero costs 1.
        centre: what b_dec starts at.
        revival: what is done for dead features. "auxk" (Gao et al. 2024, section A.2): the loss gains 1/32 times the
            normalised error of reconstructing the residual from dead features alone. "resample" (the paper's code):
            every 1,000 steps, features with fewer than 5 firings since the last time are aimed at tokens of large
            residual.
        dead_after: tokens without firing after which AuxK counts a feature as dead.
        precision: "bfloat16" runs dense products under autocast; parameters and moments stay float32.
        seed: of the mask and the initial weights; the order of the data is the stream's.
        start: a saved SAE to go on from, instead of random weights; the architecture, d, n and k are then its own.
        pursuit_steps: see :class:`sae_bridge.sae.SparseAutoencoder`.
        rank: keep the dense decoder at this rank, by a projection after every step.
        mean_degree: make the mask irregular: column j keeps Binomial(m, mean_degree / m) of its d rows, at least one.
        dense_columns: how many of the n columns are dense, the first ones, beside those on the mask
            (:class:`sae_bridge.sae.BlockSAE`); n makes the whole SAE dense. They move at the plain learning rate.
        supports: "fixed", as the mask has them; or learned: at intervals every column gives its smallest values for
            rows of large gradient, codes held constant ("gradient": RigL, of one batch; "momentum": of the last
            ten), or random ones ("random": SET).
        regrow_every: steps between two such moves.
        regrow_share: share of the d rows that move at first; it falls along a cosine, but never below one row.
        regrow_until: share of the steps after which supports stay.
        finetuned: from ``start`` on, the KL divergence of the language model's output is in the loss, as this says;
            None for training on the reconstruction error. See :func:`sae_bridge.training.finetune`.
        sparsity_weight: lambda of the penalty of JumpReLU (on L0) and Gated (on the gate's L1), where E||h||^2 = 1, as
            in the papers; None: mean L0 is steered to k, by lambda (L0 / k - 1)^2 for JumpReLU and by a controller of
            lambda for Gated.
        sparsity_warm_up: share of the steps over which lambda rises from 0. The papers' 10,000 steps are about .005 of
            theirs.
        bandwidth: epsilon of JumpReLU's pseudo-derivatives, where E||h||^2 = 1 (Rajamanoharan et al. 2024b: .001).
        initial_threshold: what a score must exceed at first, where E||h||^2 = 1, of JumpReLU (the paper: .001) and
            Gated (the paper: 0); None: what gives L0 = k on a sample, from which short runs start well.
        groups: of a Matryoshka SAE: sizes of the prefixes of features that reconstruct on their own, increasing (n is
            added where it is missing); (): 1/32, 3/32, 7/32, 15/32 of n, and n, as Bussmann et al. 2025. With "topk"
            and "batch_topk", where the encoder is no pursuit.
    """

    d: int | None = 8
    n: int = 4608
    k: int = 32
    mask: Path | None = None
    encoder: Encoder = "tied"
    activation: Activation = "topk"
    selection: Selection | None = None
    steps: int = 500
    learning_rate: float = 4e-3
    scale_rate: bool = True
    warm_up: float = 0.05
    final_rate: float = 0.01
    clip: float | None = 1.0
    centre: Centre = "mean"
    revival: Revival = "auxk"
    dead_after: int = 50_000
    precision: Precision = "float32"
    seed: int = 0
    start: Path | None = None
    pursuit_steps: int = 1
    rank: int | None = None
    mean_degree: float | None = None
    dense_columns: int = 0
    supports: Supports = "fixed"
    regrow_every: int = 5
    regrow_share: float = 0.3
    regrow_until: float = 0.9
    finetuned: Finetuning | None = None
    sparsity_weight: float | None = None
    sparsity_warm_up: float = 0.005
    bandwidth: float = 1e-3
    initial_threshold: float | None = None
    groups: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("n", "k", "steps", "dead_after"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        require(0 < self.learning_rate < 1, "learning_rate", self.learning_rate, "must be in (0, 1)")
        require(0 <= self.warm_up < 1, "warm_up", self.warm_up, "must be in [0, 1)")
        require(0 <= self.final_rate <= 1, "final_rate", self.final_rate, "must be in [0, 1]")
        require(self.clip is None or self.clip > 0, "clip", self.clip, "must be positive, or None")
        for name, choices in (
            ("centre", Centre),
            ("revival", Revival),
            ("precision", Precision),
            ("supports", Supports),
        ):
            require_choice(name, getattr(self, name), choices.__args__)
        require_choice("encoder", self.encoder, Encoder.__args__)
        require_choice("activation", self.activation, Activation.__args__)
        self._require_sparsity()
        resolved_selection(self.encoder, self.selection)
        bounded = self.rank is None or (self.rank >= 1 and self.d is None)
        require(bounded, "rank", self.rank, "must be at least 1, and None on a mask")
        loose = self.mean_degree is None or (self.mean_degree > 0 and self.d is not None)
        require(loose, "mean_degree", self.mean_degree, "must be positive, and None for a dense SAE")
        r = require_int("dense_columns", self.dense_columns)
        least = "0 for a dense SAE" if self.d is None and self.mask is None else None
        require(r == 0 if least else r >= 0, "dense_columns", r, f"must be {least or 'at least 0'}")
        require(self.mask is not None or r <= self.n, "dense_columns", r, f"must be between 0 and n = {self.n}")
        free = r and self.encoder in ("warm", "random")
        require(not free, "encoder", repr(self.encoder), "must be tied or a pursuit beside dense columns")
        fixed = self.revival != "resample" or (self.rank is None and self.mean_degree is None)
        require(fixed, "revival", repr(self.revival), "would break rank or mean_degree")
        sparse = self.supports == "fixed" or (self.mean_degree is None and (self.d, self.mask) != (None, None))
        require(sparse, "supports", repr(self.supports), "must be 'fixed' for a dense SAE and with mean_degree")
        require(self.regrow_every >= 1, "regrow_every", self.regrow_every, "must be at least 1")
        require(0 < self.regrow_share < 1, "regrow_share", self.regrow_share, "must be in (0, 1)")
        require(0 < self.regrow_until <= 1, "regrow_until", self.regrow_until, "must be in (0, 1]")
        require_seed(self.seed)
        if self.finetuned is not None:
            require(self.start is not None, "start", None, "must be the folder of an SAE to finetune")
            require(self.precision == "float32", "precision", repr(self.precision), "must be 'float32' in a finetune")
            free = self.encoder in PURSUITS or self.finetuned.codes == "exact"
            allowed = f"must be 'exact' for the encoder {self.encoder!r}, which is trained by the codes"
            require(free, "codes", repr(self.finetuned.codes), allowed)

    def _require_sparsity(self) -> None:
        """Raise InvalidArgument unless the options of penalties and groups fit the activation."""
        weight, first, thresholded = self.sparsity_weight, self.initial_threshold, self.activation in THRESHOLDED
        for name, value in (("sparsity_weight", weight), ("initial_threshold", first)):
            allowed = f"must be None for {self.activation}"
            require(value is None or thresholded or self.start is not None, name, value, allowed)
        allowed = "must be positive and finite, or None to steer L0 to k"
        require(weight is None or 0 < weight < math.inf, "sparsity_weight", weight, allowed)
        least = "at least 0" if self.activation == "gated" else "positive"
        sound = first is None or (0 < first < math.inf) or (first == 0 and self.activation == "gated")
        require(sound, "initial_threshold", first, f"must be {least} and finite, or None")
        require(first is None or self.start is None, "initial_threshold", first, "must be None with a start")
        require(0 <= self.sparsity_warm_up <= 1, "sparsity_warm_up", self.sparsity_warm_up, "must be in [0, 1]")
        require(0 < self.bandwidth < math.inf, "bandwidth", self.bandwidth, "must be positive and finite")
        if thresholded:
            require(
                self.revival != "resample", "revival", repr(self.revival), "must be 'auxk' or 'none' for thresholds"
            )
            require(
                self.finetuned is None,
                "activation",
                repr(self.activation),
                "must be 'topk' or 'batch_topk' in a finetune",
            )
        if self.groups is not None:
            object.__setattr__(self, "groups", tuple(self.groups))
            require_nested(self.encoder, self.activation)
            require(self.finetuned is None, "groups", self.groups, "must be None in a finetune")
            require(self.start is None, "groups", self.groups, "must be None with a start, which has its own")
            if self.mask is None:
                group_sizes(self.groups, self.n)

    def build(self, m: int) -> SparseAutoencoder:
        """The untrained SAE for activations of width m."""
        if self.start is not None:
            sae, _ = load_sae(self.start)
            require(sae.m == m, "start", self.start, f"has width m = {sae.m}, the activations {m}")
            return sae
        how: dict[str, Any] = {
            "seed": self.seed,
            "pursuit_steps": self.pursuit_steps,
            "encoder": self.encoder,
            "activation": self.activation,
            "selection": self.selection,
        }
        r, mask = self.dense_columns, self.decoder_mask(m)
        if self.groups is not None:
            how["groups"] = group_sizes(self.groups, self.n if mask is None else r + mask.n)
        if mask is None:
            return TopKSAE(m, self.n, self.k, **how)
        return BlockSAE(mask, r, self.k, **how) if r else ExpanderSAE(mask, self.k, **how)

    def decoder_mask(self, m: int) -> Mask | None:
        """Supports of the columns that are not dense, on m rows; None where all are dense."""
        if self.mask is not None:
            mask = load_mask(self.mask)
            require(mask.m == m, "mask", self.mask, f"has m = {mask.m} rows, the activations have {m}")
            return mask
        r = self.dense_columns
        return uniform_mask(m, self.n - r, self.d, seed=self.seed) if self.d is not None and r < self.n else None

    def load(self, folder: str | os.PathLike[str]) -> tuple[SparseAutoencoder, dict[str, Any]]:
        """A finished SAE of such a recipe, and its training fields; errors as :func:`sae_bridge.sae.load_sae`."""
        return load_sae(folder)

    @property
    def warm_up_steps(self) -> int:
        """Steps over which the rate rises."""
        return round(self.warm_up * self.steps)

    def rate_at(self, step: int) -> float:
        """Share of the peak rate at ``step``: linear warm-up, then a cosine to ``final_rate``."""
        warm_up = self.warm_up_steps
        if step < warm_up:
            return (step + 1) / warm_up
        progress = (step - warm_up) / max(1, self.steps - warm_up)
        return self.final_rate + (1 - self.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))

    def sparsity_share_at(self, step: int) -> float:
        """Share of the penalty on sparsity at ``step``: it rises linearly to 1."""
        return min(1.0, (step + 1) / max(1, round(self.sparsity_warm_up * self.steps)))

    def identity(self) -> dict[str, Any]:
        """What decides the result, JSON-able; a saved mask by its content."""
        content = {key: value for key, value in asdict(self).items() if key not in ("mask", "start")}
        content["selection"] = resolved_selection(self.encoder, self.selection)
        if self.supports == "fixed":
            for name in _OF_SUPPORTS:
                del content[name]
        for name in _NEWER:  # so that results from before they were there are still known
            if content[name] == getattr(Training, name):
                del content[name]
        if self.groups is not None:
            content["groups"] = list(self.groups)
        if self.start is not None:
            content["start_sha256"] = stored_sha256(self.start / WEIGHTS)
        if self.mask is None:
            return content
        mask = load_mask(self.mask)
        return {**content, "d": mask.d, "n": self.dense_columns + mask.n, "mask_sha256": mask.sha256}
