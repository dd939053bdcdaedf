"""SAEs on activations whose features are known: which laws, which SAEs, and what is measured of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from expander_theory.base import progress_bar
from expander_theory.dictionaries import MARGIN, babel_certified_k, coherence
from expander_theory.masks import save_mask
from expander_theory.results import AgreementRecord, PlantedRecord, TruthRecord
from expander_theory.solvers import exact_recovery_coefficients, omp
from expander_theory.statistics import clopper_pearson_interval
from sae_bridge.sae import SparseAutoencoder, TopKSAE, coordinate_null, untrained_null
from sae_bridge.synthetic import (
    Hierarchy,
    LowRank,
    Planted,
    PlantedFeatures,
    PlantedStream,
    Sample,
    pairwise_mcc,
    truth_measures,
)
from sae_bridge.training import Training, train

Decoder = Literal["dense", "expander", "masked", "block"]
RATE = 3e-2
"""On the base law 1e-2, 3e-2 and 6e-2 give FVU within .003 of one another after 1,000 steps; no rate was chosen by what
is known of the features."""


@dataclass(frozen=True)
class Learner:
    """One way to train an SAE, whatever the activations.

    Attributes:
        encoder: "topk", "batch_topk", "omp", "omp_nonnegative".
        decoder: "dense"; "expander", on learned supports of degree ``d``; "masked", on the features' own mask;
            "block", dense columns beside learned supports.
        d, dense_columns: of the decoder.
        width: columns, as a multiple of the number of features.
    """

    encoder: str
    decoder: Decoder = "dense"
    d: int | None = None
    dense_columns: int = 0
    width: float = 1.0

    @property
    def name(self) -> str:
        """In records and folders."""
        size = {"dense": "dense", "expander": f"d{self.d}-learned", "masked": "own-mask"}.get(
            self.decoder, f"r{self.dense_columns}-d{self.d}-learned"
        )
        return f"{size}-{self.encoder.replace('_', '-')}" + (f"-x{self.width:g}" if self.width != 1 else "")

    @property
    def label(self) -> str:
        """In tables."""
        size = {
            "dense": "dense",
            "expander": f"learned supports, d = {self.d}",
            "masked": "the features' own mask",
        }.get(self.decoder, f"{self.dense_columns} dense columns + learned d = {self.d}")
        return size + (f", {self.width:g} n columns" if self.width != 1 else "")

    def training(self, law: Planted, k: int, steps: int, seed: int, mask: Path | None) -> Training:
        """The recipe on activations of a law."""
        how: dict[str, Any] = {"n": round(self.width * law.n), "k": k, "steps": steps, "seed": seed}
        how["d"] = None if self.decoder == "dense" else self.d
        if self.decoder == "masked":
            how["mask"] = mask
        if self.decoder in ("expander", "block"):
            how |= {"supports": "momentum", "dense_columns": self.dense_columns}
        if self.encoder == "batch_topk":
            how["activation"] = "batch_topk"
        elif self.encoder != "topk":
            how["encoder"] = self.encoder
        return Training(learning_rate=RATE, dead_after=20_000, **how)


@dataclass(frozen=True)
class Condition:
    """A law and what is trained on it.

    Attributes:
        name, label: of the law.
        law: the features.
        k: active features that SAEs get.
        learners: what is trained.
    """

    name: str
    label: str
    law: Planted
    k: int
    learners: tuple[Learner, ...]


@dataclass(frozen=True)
class TruthScale:
    """How much is run.

    Attributes:
        base: the law that the others vary.
        d, dense_columns: of sparse features and decoders.
        steps, batch: of every training.
        seeds: of the SAEs; the laws' seed is the base's.
        tokens: of each held-out sample.
        supports: true supports that theory and OMP are asked about.
        encoders: of SAEs of every structure.
        more: of further dense SAEs, on the base law.
        decoders: structures of SAEs.
        conditions: names of those that are run; empty for all.
    """

    base: Planted
    d: int
    dense_columns: int
    steps: int
    batch: int
    seeds: tuple[int, ...]
    tokens: int
    supports: int
    encoders: tuple[str, ...] = ("topk", "batch_topk", "omp")
    more: tuple[str, ...] = ("omp_nonnegative",)
    decoders: tuple[Decoder, ...] = ("dense", "expander", "masked", "block")
    conditions: tuple[str, ...] = ()


TRUTH_SCALES = {
    "quick": TruthScale(
        *(Planted(m=32, n=96, l0=2.0), 6, 4, 400, 512, (0, 1), 4096, 200, ("topk", "omp"), ()),
        decoders=("dense", "expander"),
        conditions=("dense", "expander"),
    ),
    "full": TruthScale(Planted(m=64, n=256, l0=4.0), 8, 16, 1000, 1024, (0, 1), 8192, 500),
}


def conditions(scale: TruthScale) -> list[Condition]:
    """The laws of a scale, each with its SAEs: the base law, one choice changed at a time, and other structures."""
    base, d, r = scale.base, scale.d, scale.dense_columns
    k = round(base.l0 or 1)
    plain = tuple(Learner(encoder) for encoder in scale.encoders)
    more = tuple(Learner(encoder) for encoder in scale.more)
    sizes: dict[Decoder, tuple[int, int]] = {"expander": (d, 0), "block": (d, r)}
    sparse = tuple(
        Learner(encoder, decoder, *sizes[decoder])
        for decoder in scale.decoders
        if decoder in sizes
        for encoder in scale.encoders
    )
    own = tuple(Learner(encoder, "masked", d) for encoder in scale.encoders if "masked" in scale.decoders)
    roots = max(1, base.n // 32)
    forest = Hierarchy(roots, 4, 2)
    found = [
        Condition("dense", "dense features", base, k, (*plain, *more, *sparse)),
        Condition(
            "expander", f"features on d = {d} rows", base.changed(structure="expander", d=d), k,
            (*plain, *sparse, *own),
        ),
        *(
            Condition(
                f"expander-d{other}", f"features on d = {other} rows",
                base.changed(structure="expander", d=other), k,
                (*plain, *(Learner(encoder, "expander", other) for encoder in scale.encoders)),
            )
            for other in (d // 2, 2 * d)
        ),
        Condition(
            "block", f"{r} dense features, others on d = {d} rows",
            base.changed(structure="block", d=d, dense_columns=r), k, (*plain, *sparse),
        ),
        *(
            Condition(f"n{n}", f"n = {n} features", base.changed(n=n), k, plain)
            for n in (base.n // 2, 2 * base.n)
        ),
        *(
            Condition(f"l0-{l0}", f"{l0} features a token", base.changed(l0=float(l0)), l0, plain)
            for l0 in (k // 2, 2 * k)
        ),
        *(
            Condition(f"k{given}", f"k = {given} for {k} features a token", base, given, plain)
            for given in (k // 2, 2 * k)
        ),
        Condition("correlated", "correlated firing", base.changed(correlation=LowRank(25, 0.15)), k, plain),
        Condition("hierarchy", "parents and exclusive children", base.changed(hierarchy=forest), k, plain),
        Condition("noise", "noise, 30 % of the norm", base.changed(noise=0.3 * k**0.5), k, plain),
        Condition("background", "dense background", base.changed(background=0.5 * k**0.5), k, plain),
        Condition("spread", "features pushed apart", base.changed(spread_steps=200), k, plain),
        Condition(
            "narrow", "half as many columns as features", base, k,
            tuple(Learner(encoder, width=0.5) for encoder in scale.encoders),
        ),
    ]  # fmt: skip
    return [one for one in found if not scale.conditions or one.name in scale.conditions]


def planted_record(condition: Condition, features: PlantedFeatures, held_out: Sample, supports: int) -> PlantedRecord:
    """What theory and OMP say of the known features, on the first true supports of a sample that are not empty."""
    law, dictionary, truth = condition.law, features.dictionary(), held_out.truth
    ends = truth.indptr
    chosen = [t for t in range(truth.shape[0]) if 0 < ends[t + 1] - ends[t] <= law.m][:supports]
    guaranteed = recovered = 0
    for t in chosen:
        support = truth.indices[ends[t] : ends[t + 1]]
        signal = truth.data[ends[t] : ends[t + 1]].astype(np.float64) @ features.directions[support]
        guaranteed += bool(exact_recovery_coefficients(dictionary, support)[0] < 1 - MARGIN)
        code = omp(dictionary, signal, len(support)).to_dense()
        recovered += set(np.flatnonzero(code)) == set(support.tolist())
    shares: dict[str, Any] = {}
    for name, count in (("guaranteed", guaranteed), ("recovered", recovered)):
        low, high = clopper_pearson_interval(count, len(chosen))
        shares |= {name: count / len(chosen), f"{name}_interval": (float(low), float(high))}
    return PlantedRecord(
        condition=condition.name,
        label=condition.label,
        law=asdict(law),
        m=law.m,
        n=law.n,
        structure=law.structure,
        d=None if law.structure == "dense" else law.d,
        tokens=truth.shape[0],
        l0=truth.nnz / truth.shape[0],
        coherence=coherence(dictionary),
        certified_k=babel_certified_k(dictionary),
        supports=len(chosen),
        **shares,
    )


def train_on_truth(
    condition: Condition, features: PlantedFeatures, scale: TruthScale, folder: Path, device: str = "cpu"
) -> dict[tuple[Learner, int], SparseAutoencoder]:
    """Every SAE of a condition, all on one stream; what is trained already is read."""
    law, runs = condition.law, {}
    mask = folder / "features-mask.safetensors"
    if features.mask is not None and not mask.is_file():
        save_mask(features.mask, mask)
    for learner in condition.learners:
        for seed in scale.seeds:
            how = learner.training(law, condition.k, scale.steps, seed, mask)
            runs[f"{learner.name}-seed{seed}"] = (learner, seed, how)
    stream = PlantedStream(features, scale.batch, law.seed)
    about = {"known_features": asdict(law)}
    saes = train({name: how for name, (*_, how) in runs.items()}, stream, folder, device=device, about=about)
    return {(learner, seed): saes[name] for name, (learner, seed, _) in runs.items()}


def truth_records(
    condition: Condition,
    features: PlantedFeatures,
    saes: Mapping[tuple[Learner, int], SparseAutoencoder],
    scale: TruthScale,
    held_out: Sample,
) -> list[TruthRecord]:
    """What each SAE found, then the known directions with each encoder, then codes that have learned nothing."""
    for_thresholds = Sample.drawn(features, scale.tokens, "thresholds")
    n, k, seed = condition.law.n, condition.k, condition.law.seed
    mean = for_thresholds.h.double().mean(dim=0).float()
    codes: list[tuple[dict[str, Any], SparseAutoencoder]] = []
    for (learner, own), sae in saes.items():
        decoder = "expander" if learner.decoder == "masked" else learner.decoder
        about = {"name": learner.name, "label": learner.label, "encoder": learner.encoder, "decoder": decoder}
        codes.append(({**about, "role": "trained", "seed": own, "steps": scale.steps}, sae))
    for encoder in ("topk", "omp"):
        about = {"name": f"known-{encoder}", "label": "the known directions", "encoder": encoder, "decoder": "dense"}
        codes.append(({**about, "role": "known", "seed": seed, "steps": 0}, known(features, k, encoder, mean)))
    nulls = (
        ("null-random", "random directions", "omp", untrained_null(mean, n, k, seed=seed)),
        ("null-coordinates", "coordinates", "topk", coordinate_null(mean, k)),
    )
    for name, label, encoder, sae in nulls:
        about = {"name": name, "label": label, "encoder": encoder, "decoder": "dense"}
        codes.append(({**about, "role": "null", "seed": seed, "steps": 0}, sae))
    records = []
    for about, sae in progress_bar(codes, unit="SAE", desc=f"{condition.name}: measure"):
        measured = truth_measures(sae, features, held_out, for_thresholds)
        size = {"n": sae.n, "k": sae.k, "decoder_values": sae.decoder_values if about["role"] == "trained" else 0}
        records.append(TruthRecord(condition=condition.name, **about, **size, **measured))
    return records


def agreement_records(
    condition: str, saes: Mapping[tuple[str, int], SparseAutoencoder], seeds: Sequence[int]
) -> list[AgreementRecord]:
    """The pairwise MCC of each SAE with itself at another seed; the first seed against each of the others."""
    first, *others = seeds
    records = []
    for name in dict.fromkeys(name for name, _ in saes):
        columns = {seed: saes[name, seed].dictionary().to_dense().T for seed in seeds if (name, seed) in saes}
        for other in others:
            if first in columns and other in columns:
                mcc = pairwise_mcc(columns[first], columns[other])
                records.append(AgreementRecord(condition=condition, name=name, seeds=(first, other), mcc=mcc))
    return records


@torch.no_grad()
def known(features: PlantedFeatures, k: int, encoder: str, mean: torch.Tensor) -> TopKSAE:
    """An SAE whose columns are the known directions: what its encoder makes of the best decoder."""
    law = features.law
    how: dict[str, Any] = {} if encoder == "topk" else {"encoder": encoder}
    sae = TopKSAE(law.m, law.n, k, **how)
    sae.weight.copy_(torch.from_numpy(features.directions))
    sae.b_dec.copy_(mean if encoder == "topk" else torch.from_numpy(features.bias))
    return sae.eval()
