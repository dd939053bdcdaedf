"""What theory predicts for a trained decoder on the supports of real activations, beside what OMP does there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from expander_theory.base import derived_seed, progress_bar, require, require_choice
from expander_theory.dictionaries import (
    MARGIN,
    AnyDictionary,
    Dictionary,
    attack_expansion,
    babel_certified_k,
    coherence,
    flatness,
    paper_eps_count,
)
from expander_theory.results import BySize, Calibration
from expander_theory.simulation import PlantedCodes, Success, recover_planted, solver_named
from expander_theory.solvers import Prepared, exact_recovery_coefficients
from expander_theory.statistics import clopper_pearson_interval
from sae_bridge.activations import ActivationStore
from sae_bridge.codes import Autoencoder, Coder
from sae_bridge.sae import BlockSAE, ExpanderSAE, SparseAutoencoder, TopKSAE

Source = Literal["encoder", "omp"]
BINS = (0.0, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, np.inf)
"""Edges of the calibration table in ERC; below 1 recovery is guaranteed."""
LAWS = ("own", "signs", "gaussian")
"""Coefficients planted on a real support: those of its code; the same moduli with random signs; Gaussian."""
_BATCH = 64


@dataclass(frozen=True)
class SupportRecovery:
    """Real supports, each with its exact recovery coefficient and what OMP found of codes planted on it.

    Attributes:
        sizes: features in each support, int64 (T,).
        erc: ERC(S), float64 (T,); OMP recovers every code on S where it is below 1 (Tropp 2004; THEORY.md OMP-1).
        found: by law of the coefficients, bool (T,): whether OMP returned exactly S from W_S c, without noise.
    """

    sizes: NDArray[np.int64]
    erc: NDArray[np.float64]
    found: Mapping[str, NDArray[np.bool_]]

    def by_size(self) -> list[BySize]:
        """One row a size of support: how many, the share that theory guarantees (ERC < 1), the shares recovered."""
        rows = []
        for size in np.unique(self.sizes):
            inside = self.sizes == size
            guaranteed = int((self.erc[inside] < 1 - MARGIN).sum())
            count = int(inside.sum())
            shares = _share("guaranteed", guaranteed, count) | self._shares(inside)
            rows.append(BySize(size=int(size), supports=count, **shares))
        return rows

    def contradictions(self) -> int:
        """Supports with ERC < 1 on which OMP failed: 0, or the theorem or the code is wrong."""
        certain = self.erc < 1 - MARGIN
        return sum(int((certain & ~found).sum()) for found in self.found.values())

    def calibration(self) -> list[Calibration]:
        """One row a bin of ERC that has supports: how many, and the share recovered under each law, with 95 %
        Clopper-Pearson intervals."""
        rows = []
        for low, high in pairwise(BINS):
            inside = (self.erc >= low) & ((self.erc < high) | (high == np.inf))
            count = int(inside.sum())
            if not count:
                continue
            ends: dict[str, Any] = {"erc_from": low, "erc_to": high if high < np.inf else None}
            predicted = "all recovered" if high <= 1 else "no guarantee"
            rows.append(Calibration(**ends, supports=count, predicted=predicted, **self._shares(inside)))
        return rows

    def _shares(self, inside: NDArray[np.bool_]) -> dict[str, Any]:
        shares: dict[str, Any] = {}
        for law, found in self.found.items():
            shares |= _share(law, int(found[inside].sum()), int(inside.sum()))
        return shares

    def as_fields(self) -> dict[str, Any]:
        """JSON-able: everything; an infinite ERC is None."""
        erc = [float(value) if np.isfinite(value) else None for value in self.erc]
        found = {law: values.tolist() for law, values in self.found.items()}
        return {"sizes": self.sizes.tolist(), "erc": erc, "found": found}


def support_recovery(
    sae: Autoencoder,
    store: ActivationStore,
    *,
    supports: int = 200,
    source: Source = "encoder",
    strongest: Sequence[int] = (1, 2, 4, 8, 16),
    seed: int = 0,
    progress: bool = True,
) -> SupportRecovery:
    """ERC of the supports of held-out tokens, and whether OMP recovers codes planted on them.

    Args:
        sae: in evaluation mode, ours or imported; its decoder is taken at unit norm.
        supports: how many tokens, drawn without repetition; those without an active feature are left out.
        source: whose supports: "encoder" or "omp" (magnitude selection, k atoms).
        strongest: besides a token's whole support, those of its so many largest coefficients (where it has more).
        seed: of the draw and of the coefficients.
        progress: show a progress bar on standard error.

    Raises:
        InvalidArgument: an SAE of another width, supports or a strongest below 1, an unknown source.
    """
    require(sae.m == store.m, "sae", f"of width m = {sae.m}", f"must have the activations' width {store.m}")
    require(supports >= 1, "supports", supports, "must be at least 1")
    require_choice("source", source, get_args(Source))
    require(all(count >= 1 for count in strongest), "strongest", tuple(strongest), "must be at least 1 each")
    whole = _codes(sae, store, supports, source, seed)
    codes = [part for code in whole for part in _parts(*code, strongest)]
    dictionary = sae.dictionary().astype(np.float64).normalised()
    prepared = Prepared(dictionary, np.float64)
    sizes = np.array([len(indices) for indices, _ in codes], np.int64)
    erc = np.full(len(codes), np.inf)
    found = {law: np.zeros(len(codes), np.bool_) for law in LAWS}
    with progress_bar(total=len(codes), unit="support", desc="real supports", show=progress) as bar:
        for size in np.unique(sizes):
            group = np.nonzero(sizes == size)[0]
            for part in np.array_split(group, -(-len(group) // _BATCH)):
                chosen = np.stack([codes[t][0] for t in part])
                own = np.stack([codes[t][1] for t in part])
                erc[part] = exact_recovery_coefficients(dictionary, chosen)
                for law in LAWS:
                    planted = np.stack([_coefficients(law, row, seed, t) for row, t in zip(own, part, strict=True)])
                    found[law][part] = _found(prepared, chosen, planted)
                bar.update(len(part))
    return SupportRecovery(sizes, erc, found)


@torch.no_grad()
def _codes(
    sae: Autoencoder, store: ActivationStore, supports: int, source: Source, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Features and coefficients (for unit columns) of the drawn tokens that have any."""
    rng = np.random.default_rng(derived_seed(seed, "tokens whose supports are examined"))
    count = store.count("held_out")
    drawn = torch.from_numpy(np.sort(rng.choice(count, min(supports, count), replace=False)))
    acts, indices = Coder(sae)(store.rows("held_out")[drawn].float(), source)
    norms = sae.dictionary().column_norms
    codes = []
    for values, features in zip(acts.double().cpu().numpy(), indices.cpu().numpy(), strict=True):
        active = values != 0
        if active.any():
            codes.append((features[active], values[active] * norms[features[active]]))
    return codes


def _parts(
    features: NDArray[np.int64], values: NDArray[np.float64], strongest: Sequence[int]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    order = np.argsort(-np.abs(values), kind="stable")
    for count in sorted({size for size in strongest if size < len(values)} | {len(values)}):
        yield features[order[:count]], values[order[:count]]


def _share(name: str, successes: int, count: int) -> dict[str, Any]:
    low, high = clopper_pearson_interval(successes, count)
    return {name: successes / count, f"{name}_interval": (float(low), float(high))}


def _coefficients(law: str, own: NDArray[np.float64], seed: int, t: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(derived_seed(seed, f"{law} coefficients on real support {t}"))
    if law == "own":
        return own
    return np.abs(own) * rng.choice((-1, 1), own.shape) if law == "signs" else rng.standard_normal(own.shape)


def _found(prepared: Prepared, chosen: NDArray[np.int64], planted: NDArray[np.float64]) -> NDArray[np.bool_]:
    if chosen.shape[1] > prepared.dictionary.m:  # OMP stops at m atoms
        return np.zeros(len(chosen), np.bool_)
    order = np.argsort(chosen, axis=1)
    supports = np.take_along_axis(chosen, order, axis=1).astype(np.int32)
    codes = PlantedCodes(supports, np.take_along_axis(planted, order, axis=1))
    return recover_planted(prepared, codes, solver_named("omp")).successes(Success())


def untrained(sae: SparseAutoencoder, seed: int) -> AnyDictionary:
    """The decoder that training with this seed started from."""
    if sae.mask is not None and sae.dense is not None:
        return BlockSAE(sae.mask, len(sae.dense), sae.k, seed=seed).dictionary()
    if sae.mask is not None:
        return ExpanderSAE(sae.mask, sae.k, seed=seed).dictionary()
    return TopKSAE(sae.m, sae.n, sae.k, seed=seed).dictionary()


def geometry(dictionary: AnyDictionary) -> dict[str, Any]:
    """Flatness C_j = sqrt(d) max|w_ij| / ||w_j||, coherence, and the k that Babel certifies: to compare decoders."""
    flat = flatness(dictionary)
    quantiles = {f"flatness_{name}": float(np.quantile(flat, q)) for name, q in _QUANTILES}
    return {**quantiles, "coherence": coherence(dictionary), "babel_k": babel_certified_k(dictionary)}


def paper_ratios(dictionary: Dictionary, k: int, *, seed: int = 0) -> dict[str, float]:
    """The paper's sufficient conditions, R_id = 2 C^2 eps_2k < 1 and R_OMP = C^2 eps_(k+1) (2k + 1) < 1, from below.

    C is the largest flatness; eps of a size is at least what a set that was found loses, and at least 1 - m/(ds)
    (``eps_2k_count``). So where a ratio is 1 or more, its condition fails; below 1 it may or may not hold.

    Raises:
        InvalidArgument: k outside 1..n/2.
    """
    require(1 <= k <= dictionary.n // 2, "k", k, f"must be between 1 and n/2 = {dictionary.n // 2}")
    m, d, squared = dictionary.m, dictionary.d, float(flatness(dictionary).max()) ** 2
    found = {
        bound.size: max(bound.loss / (d * bound.size), float(paper_eps_count(m, d, bound.size)))
        for bound in attack_expansion(dictionary.mask, (k + 1, 2 * k), seed=seed, restarts=_RESTARTS)
    }
    return {
        "eps_2k_found": found[2 * k],
        "eps_2k_count": float(paper_eps_count(m, d, 2 * k)),
        "R_id": 2 * squared * found[2 * k],
        "R_OMP": squared * found[k + 1] * (2 * k + 1),
    }


_RESTARTS = 2
_QUANTILES = (("least", 0.0), ("median", 0.5), ("95", 0.95), ("largest", 1.0))
