"""Sampled certificates: a property of most supports, at a stated confidence (SAMPLED.md, version 1)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from expander_theory.base import InvalidArgument, progress_bar, require, require_choice, require_int
from expander_theory.certificates._prove.drawing import places_of, supports_of
from expander_theory.certificates._prove.shares import MILLION, proved_share
from expander_theory.certificates._prove.supports import Decide, Supports, found_by_topk, recovered_by_omp, unique_codes
from expander_theory.dictionaries import AnyDictionary, DenseDictionary, Dictionary, as_dictionary
from expander_theory.results import canonical_json
from expander_theory.simulation import codes_hash, load_codes, strongest_entries

FORMAT, VERSION = "expander-sampled-certificate", 1
Goal = Literal["OMP", "TopK encoder", "uniqueness"]
STATES: dict[str, str] = {
    "OMP": "OMP recovers every code on the support, whatever its coefficients",
    "TopK encoder": "the tied TopK encoder finds support and signs of every code on the support of this dynamic range",
    "uniqueness": "every code on the support is the only code of its activation with at most as many nonzeros",
}
ERROR = Fraction(1, MILLION)
MOST_SAMPLES = 10_000
_LARGEST = 10**300  # of a dynamic range's numerator and denominator, which loops take as floats
_AT_ONCE = 100


def certify_supports(
    dictionary: AnyDictionary | ArrayLike | Any,
    goal: Goal = "OMP",
    ks: Sequence[int] | None = None,
    *,
    samples: int = 2000,
    dynamic_range: Fraction = Fraction(1),
    codes: str | os.PathLike[str] | None = None,
    error: Fraction = ERROR,
    progress: bool = True,
) -> dict[str, Any]:
    """A sampled certificate: for each k, the share of all supports of k columns for which the goal is proved.

    Source: THEORY.md AVG-2, with OMP-1, TOPK-1 and IDN-5 for a support. Costs, for each support, k n d operations for
    "OMP" (k n m dense), k^2 n for the others on top of that at most. Equal arguments give equal certificates.

    Args:
        dictionary: of this project, or a NumPy or scipy.sparse (m, n) matrix.
        goal: "OMP": ERC(S) < 1. "TopK encoder": right for codes of the dynamic range. "uniqueness": the codes on S are
            the only ones so sparse (masked dictionaries without zero entries).
        ks: sparsities, increasing; default: 1, 2, 3, 4, 6, 8, ... until fewer than one support in twenty has the
            property.
        samples: supports drawn for each k, up to 10,000. If all of them have the property, the share is
            error^(1/samples): .9931 for 2,000.
        dynamic_range: largest over least modulus of the codes that "TopK encoder" is asked for.
        codes: a file of codes (``.npz`` of scipy.sparse), whose supports are drawn instead of uniform ones.
        error: probability that the statement of one k is wrong, in (0, 1).
        progress: show a progress bar on standard error.

    Returns:
        a JSON value; :func:`write_certificate` stores it, and :func:`check_sampled_certificate` verifies it.

    Raises:
        InvalidArgument: an argument out of range, or a dictionary that the goal is not about.
        InvalidFile: codes that cannot be read.
    """
    w = as_dictionary(dictionary)
    require_choice("goal", goal, get_args(Goal))
    samples = require_int("samples", samples)
    require(1 <= samples <= MOST_SAMPLES, "samples", samples, f"must be between 1 and {MOST_SAMPLES}")
    rational = isinstance(dynamic_range, int | Fraction) and dynamic_range >= 1
    whole = rational and max(Fraction(dynamic_range).as_integer_ratio()) <= _LARGEST
    allowed = "must be a rational number (Fraction), at least 1, of at most 300 digits"
    require(whole, "dynamic_range", dynamic_range, allowed)
    allowed = "must be 1 (not given) but for the TopK encoder"
    require(goal == "TopK encoder" or dynamic_range == 1, "dynamic_range", dynamic_range, allowed)
    exact = isinstance(error, Fraction) and 0 < error < 1 and error.denominator <= _LARGEST
    require(exact, "error", error, "must be a Fraction in (0, 1) of at most 300 digits")
    limit = min(w.m, w.n - 1 if goal == "TopK encoder" else w.n)
    require(limit >= 1, "dictionary", "one column", "must have at least two columns for the TopK encoder")
    stored = None if codes is None else load_codes(codes)
    if stored is not None:
        allowed = f"must be of length n = {w.n}"
        require(stored.shape[1] == w.n, "codes", f"{Path(os.fspath(codes or ''))} (n = {stored.shape[1]})", allowed)
        limit = min(limit, int(np.diff(stored.indptr).max()))
    chosen = None if ks is None else _increasing(ks, limit)
    decide = _property(w, goal, Fraction(dynamic_range))
    claim = {
        "goal": goal,
        "states": STATES[goal],
        "dynamic_range": str(Fraction(dynamic_range)) if goal == "TopK encoder" else None,
        "codes": None if stored is None else codes_hash(stored),
        "samples": samples,
        "error": str(error),
    }
    curve = []
    for k in chosen if chosen is not None else growing(limit):
        key = {"dictionary": w.sha256, "k": k} | {name: claim[name] for name in ("goal", "dynamic_range", "codes")}
        if stored is None:
            supports = supports_of(key, w.n, k, samples)
        else:
            known = strongest_entries(stored, k)[0].astype(np.int64)
            supports = known[places_of(key, len(known), samples)]
        count = _count(decide, supports, k, progress)
        share = proved_share(count, samples, error)
        curve.append({"k": k, "certified": count, "share": f"{share // MILLION}.{share % MILLION:06}"})
        if chosen is None and 20 * count < samples:
            break
    kind = "masked" if isinstance(w, Dictionary) else "dense" if isinstance(w, DenseDictionary) else "blocks"
    certificate = {
        "format": FORMAT,
        "version": VERSION,
        "dictionary": {"sha256": w.sha256, "kind": kind, "m": w.m, "n": w.n},
        "claim": claim,
        "curve": curve,
    }
    return certificate | {"sha256": hashlib.sha256(canonical_json(certificate).encode()).hexdigest()}


def growing(most: int) -> Iterator[int]:
    """Sparsities to try: 1, 2, 3, 4, 6, 8, 11, ..., by about a fifth from 22 on, up to ``most``."""
    k = 1.0
    while round(k) <= most:
        yield round(k)
        k = k + 1 if k < 4 else k * (1.4 if k < 16 else 1.18)


def _increasing(ks: Sequence[int], limit: int) -> list[int]:
    found = [require_int("ks", k) for k in ks]
    ascending = len(found) > 0 and all(a < b for a, b in pairwise(found))
    require(ascending, "ks", ks, "must hold at least one k, increasing")
    require(found[0] >= 1 and found[-1] <= limit, "ks", ks, f"must lie in 1..{limit}")
    return found


def _property(w: AnyDictionary, goal: Goal, dynamic_range: Fraction) -> Decide:
    if goal == "uniqueness":
        if not isinstance(w, Dictionary) or not w.values.all():
            kind = "masked with zero entries on its mask" if isinstance(w, Dictionary) else "without a mask"
            allowed = "must be masked, without zero entries on its mask, for uniqueness (IDN-5)"
            raise InvalidArgument("dictionary", kind, allowed)
        return unique_codes(w)
    off = float(np.abs(w.column_norms**2 - 1).max())
    allowed = "must have unit columns (squared norms within 2e-4 of 1): use dictionary.normalised()"
    require(off <= 2e-4 * (1 - 1e-9), "dictionary", f"has a column whose squared norm is off 1 by {off:.3g}", allowed)
    return recovered_by_omp(w) if goal == "OMP" else found_by_topk(w, dynamic_range)


def _count(decide: Decide, supports: Supports, k: int, progress: bool) -> int:
    count = 0
    with progress_bar(total=len(supports), show=progress, desc=f"k = {k}", unit="support", leave=False) as bar:
        for first in range(0, len(supports), _AT_ONCE):
            part = supports[first : first + _AT_ONCE]
            count += int(decide(part).sum())
            bar.update(len(part))
    return count
