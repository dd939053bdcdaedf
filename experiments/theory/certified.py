"""Claim: what is certified for a mask, beside what is impossible and what happens, at SAE sizes.

For every family of masks, size and degree, on random signs: bounds on eps, coherence, the k that theorems certify, the
share of random supports whose exact recovery coefficient certifies them, sampled certificates for 99 % of all supports
(AVG-2), union bounds over random masks, the paper's ratios, and the k up to which OMP and the tied TopK encoder recover
planted codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from expander_theory.base import ExpanderTheoryError, derived_seed, generator, progress_bar, require
from expander_theory.certificates import certify_supports, growing
from expander_theory.dictionaries import (
    Dictionary,
    babel,
    babel_certified_k,
    certified_sparsity,
    coherence_certified_k,
    expanding_size,
    expansion_profile,
    overlap_counts,
    sign_dictionary,
)
from expander_theory.masks import MASK_FAMILIES, Mask, mask_family
from expander_theory.results import CertifiedRate, CertifiedRecord, Ledger
from expander_theory.simulation import planted_recovery
from expander_theory.solvers import exact_recovery_coefficients, range_certified_k, range_threshold
from expander_theory.statistics import clopper_pearson_interval, fit_boundary

FAMILIES = ("uniform", "biregular", "progressive-edge-growth", "overlap-limited", "polynomial")
"""Families of the presets; any of :data:`expander_theory.masks.MASK_FAMILIES` can be asked for."""

Case = tuple[str, int, int, int]
"""Family, m, n, d."""


@dataclass(frozen=True)
class Scale:
    """One scale of the experiment: sizes (m, n), degrees, and effort."""

    sizes: tuple[tuple[int, int], ...]
    degrees: tuple[int, ...]
    trials: int
    supports: int
    samples: int
    """Supports of a sampled certificate."""
    seconds: float
    """Seconds for each search (exact expansion, eps < 1/2, dynamic range)."""


SCALES = {
    "quick": Scale(((512, 4096),), (4, 7, 16, 32), 30, 40, 2000, 3.0),
    "full": Scale(
        ((512, 4096), (576, 4608), (768, 6144), (2048, 16384), (2048, 65536)), (4, 7, 8, 16, 32, 64), 40, 60, 2000, 10.0
    ),
}


def chosen(
    scale: Scale,
    *,
    family: Collection[str] = (),
    m: Collection[int] = (),
    n: Collection[int] = (),
    d: Collection[int] = (),
) -> list[Case]:
    """The cases of a scale with the given families (none: :data:`FAMILIES`), m, n and d (none: all of the scale).

    Raises:
        InvalidArgument: there is none.
    """
    families = [name for name in MASK_FAMILIES if name in (family or FAMILIES)]
    kept = (families, m, n, d)
    cases = [
        case
        for case in ((name, m, n, d) for m, n in scale.sizes for d in scale.degrees for name in families)
        if all(not some or value in some for some, value in zip(kept, case, strict=True))
    ]
    require(bool(cases), "m, n, d, family", "no case", f"must name some of the preset's sizes {scale.sizes}")
    return cases


def run(cases: list[Case], scale: Scale, seed: int, folder: Path) -> None:
    """Measure every case that the ledger does not hold yet; parts are recorded as they are done."""
    content = {key: value for key, value in asdict(scale).items() if key not in ("sizes", "degrees")}
    with Ledger(folder / "ledger.jsonl", {"kind": "certified", "seed": seed, **content}) as ledger:
        _measure(cases, scale, seed, ledger)


def _measure(cases: list[Case], scale: Scale, seed: int, ledger: Ledger) -> None:
    done = {(r.family, r.m_asked, r.n, r.d, r.part) for r in ledger.of(CertifiedRecord)}
    todo = [(*case, part) for case in cases for part in PARTS if (*case, part) not in done]
    current: tuple[Any, Dictionary | str] = (None, "")
    for family, m, n, d, part in progress_bar(todo, unit="part", desc="certified"):
        key: dict[str, Any] = {"family": family, "m_asked": m, "n": n, "d": d, "part": part}
        if current[0] != (family, m, n, d):
            current = ((family, m, n, d), _dictionary(family, m, n, d, seed))
        dictionary = current[1]
        if isinstance(dictionary, str):
            ledger.append(CertifiedRecord(**key, impossible=dictionary))
        else:
            found = PARTS[part](dictionary, scale, derived_seed(seed, f"{family} {m} {n} {d}"))
            about = {"m": dictionary.m, "recipe": dictionary.mask.recipe, "sha256": dictionary.sha256}
            ledger.append(CertifiedRecord(**key, **about, **found))


def _dictionary(family: str, m: int, n: int, d: int, seed: int) -> Dictionary | str:
    """The case's sign dictionary, or why there is none."""
    try:
        return sign_dictionary(_mask(family, m, n, d, seed), seed=seed)
    except ExpanderTheoryError as error:
        return str(error)


def _mask(name: str, m: int, n: int, d: int, seed: int) -> Mask:
    """The family's mask of the most rows up to m."""
    family = mask_family(name)
    return family.build(family.rows_at_most(m, d), n, d, seed=seed)


# ---- the parts of a record


def _expansion(dictionary: Dictionary, scale: Scale, seed: int) -> dict[str, Any]:
    mask = dictionary.mask
    counts = overlap_counts(mask)
    profile = expansion_profile(mask, 4, time_limit=scale.seconds)
    bounds = {s: profile.ratio_bounds(s) for s in range(2, 5)}
    half = expanding_size(mask, Fraction(1, 2), time_limit=scale.seconds)
    return {
        "largest_overlap": int(np.nonzero(counts)[0][-1]),
        "row_degrees": (int(mask.row_degrees.min()), int(mask.row_degrees.max())),
        "eps": {str(s): [str(1 - high), str(1 - low)] for s, (low, high) in bounds.items()},
        "size_below_half": half.proved,
        "size_at_half": half.fails_at,
        "k_identifiable": half.proved // 2,
    }


def _certificates(dictionary: Dictionary, scale: Scale, seed: int) -> dict[str, Any]:
    sums = babel(dictionary, 4)
    thresholds = {str(k): range_threshold(dictionary, k, time_limit=scale.seconds) for k in (2, 3, 4)}
    return {
        "mu": float(sums[0]),
        "babel": [float(s) for s in sums],
        "k_coherence": min(dictionary.n, coherence_certified_k(float(sums[0]))),
        "k_babel": babel_certified_k(dictionary),
        "k_topk_range1": range_certified_k(dictionary, 1.0, time_limit=scale.seconds),
        "k_topk_range2": range_certified_k(dictionary, 2.0, time_limit=scale.seconds),
        "range_thresholds": {k: [t.low, t.high] for k, t in thresholds.items()},
    }


def _paper_ratios(dictionary: Dictionary, scale: Scale, seed: int) -> dict[str, Any]:
    """R_id and R_OMP at k = 1, 2, 4 with eps bounded on both sides (C = 1: signs are flat)."""
    profile = expansion_profile(dictionary.mask, 8, time_limit=scale.seconds)
    ratios: dict[str, Any] = {}
    for k in (1, 2, 4):
        for name, size, factor in (("R_id", 2 * k, 2), ("R_OMP", k + 1, 2 * k + 1)):
            low, high = profile.ratio_bounds(size)
            ratios[f"{name}({k})"] = [str(factor * (1 - high)), str(factor * (1 - low))]
    return {"ratios": ratios}


def _union_bounds(dictionary: Dictionary, scale: Scale, seed: int) -> dict[str, Any]:
    """k that all but 1 % of uniform random masks of this shape reach (the same for every family of the shape)."""
    shape = (dictionary.m, dictionary.n, dictionary.d)
    return {
        "k_union_identifiable": certified_sparsity(*shape, "identifiability"),
        "k_union_stopping": certified_sparsity(*shape, "stopping"),
        "k_union_l0": certified_sparsity(*shape, "l0"),
        "k_union_l1": certified_sparsity(*shape, "l1"),
    }


def _supports(dictionary: Dictionary, scale: Scale, seed: int) -> dict[str, Any]:
    """Share of random supports with ERC < 1, as k grows until it is small; the fitted 50 % point."""
    rows = []
    for k in growing(dictionary.m // 2):
        rng = generator(seed, f"supports {k}")
        draws = np.array([rng.choice(dictionary.n, k, replace=False) for _ in range(scale.supports)])
        certified = int((exact_recovery_coefficients(dictionary, draws) < 1 - 1e-9).sum())
        low, _ = clopper_pearson_interval(certified, scale.supports)
        rows.append(CertifiedRate(k=k, certified=certified, supports=scale.supports, low=float(low)))
        if certified <= 0.05 * scale.supports:
            break
    return {"erc": tuple(rows), **_points("erc", [r.k for r in rows], [r.certified or 0 for r in rows], scale.supports)}


def _sampled(name: str, goal: Literal["OMP", "TopK encoder", "uniqueness"]) -> Callable[..., dict[str, Any]]:
    """Sampled certificates as k grows, until less than 99 % of the supports are proved to have the property."""

    def part(dictionary: Dictionary, scale: Scale, seed: int) -> dict[str, Any]:
        rows, largest = [], 0
        for k in growing(dictionary.m // 2):
            (line,) = certify_supports(dictionary, goal, [k], samples=scale.samples, progress=False)["curve"]
            low = float(line["share"])
            rows.append(CertifiedRate(k=k, certified=line["certified"], supports=scale.samples, low=low))
            if low < _MOST_OF_THEM:
                break
            largest = k
        return {f"sampled_{name}": tuple(rows), f"k99_proved_{name}": largest}

    return part


_MOST_OF_THEM = 0.99


def _recovery(solver: str, coefficients: Literal["signs", "gaussian"]) -> Callable[..., dict[str, Any]]:
    def part(dictionary: Dictionary, scale: Scale, seed: int) -> dict[str, Any]:
        rows = []
        for k in growing(dictionary.m // 2):
            (rate,) = planted_recovery(
                dictionary, [k], trials=scale.trials, coefficients=coefficients, solver=solver, seed=seed
            )
            rows.append(CertifiedRate(k=k, successes=rate.successes, trials=rate.trials))
            if rate.rate <= 0.05:
                break
        name = f"{solver}_{coefficients}"
        successes = [row.successes or 0 for row in rows]
        return {name: tuple(rows), **_points(name, [row.k for row in rows], successes, scale.trials)}

    return part


def _points(name: str, ks: list[int], successes: list[int], trials: int) -> dict[str, Any]:
    """k at 50 % and 99 % from a logistic fit in log k; null where the rates do not show it."""
    if len(ks) < 2:
        return {f"k50_{name}": None, f"k99_{name}": None, f"k50_{name}_interval": None}
    fit = fit_boundary(np.log(ks), successes, [trials] * len(ks))
    if fit.status != "fitted":
        return {f"k50_{name}": None, f"k99_{name}": None, f"k50_{name}_interval": None, f"status_{name}": fit.status}
    ends = tuple(math.exp(end) if math.isfinite(end) else None for end in (fit.low, fit.high))
    k99 = math.exp(fit.centre + math.log(99) / fit.slope)
    k99 = k99 if k99 >= ks[0] else None
    return {f"k50_{name}": math.exp(fit.centre), f"k99_{name}": k99, f"k50_{name}_interval": ends}


PARTS: dict[str, Callable[[Dictionary, Scale, int], dict[str, Any]]] = {
    "expansion": _expansion,
    "certificates": _certificates,
    "paper ratios": _paper_ratios,
    "union bounds": _union_bounds,
    "supports": _supports,
    "sampled omp": _sampled("omp", "OMP"),
    "sampled topk": _sampled("topk", "TopK encoder"),
    "sampled unique": _sampled("unique", "uniqueness"),
    "omp signs": _recovery("omp", "signs"),
    "omp gaussian": _recovery("omp", "gaussian"),
    "topk signs": _recovery("topk", "signs"),
}
