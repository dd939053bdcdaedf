"""The prover: what theorems say about one dictionary, with every number exact (FORMAT.md, versions 2 and 3)."""

from __future__ import annotations

import hashlib
import json
import os
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expander_theory._kernels.expansion.certificates import has_triangle
from expander_theory._kernels.expansion.graph import Graph
from expander_theory.base import require
from expander_theory.certificates._claims import CLAIMS, Facts
from expander_theory.certificates._prove.dense import dense_facts
from expander_theory.certificates._prove.gram import gram_sums
from expander_theory.certificates._prove.losses import loss_bounds
from expander_theory.certificates._prove.values import ExactValues, Extreme, value_facts
from expander_theory.dictionaries import (
    AnyDictionary,
    BlockDictionary,
    DenseDictionary,
    Dictionary,
    as_dictionary,
    column_overlaps,
    without_blocks,
)
from expander_theory.masks import Mask
from expander_theory.results import atomic_write, canonical_json

FORMAT, VERSION, DENSE_VERSION = "expander-certificate", 2, 3


def certify(
    dictionary: AnyDictionary | ArrayLike | Any,
    *,
    dynamic_range: Fraction = Fraction(1),
    time_limit: float = 60.0,
    progress: bool = True,
) -> dict[str, Any]:
    """The certificate of a dictionary: for each theorem the largest k at which its condition holds, and the facts.

    Facts and conditions are those of FORMAT.md, computed for the values as stored: nothing is rounded.
    Equal dictionaries give equal certificates whenever the time limit does not bite; where it does, a
    certificate may claim less, never more than is proved. Without a mask the claims are those that need none, about
    norms and inner products; n^2 m operations in floats, whose errors are bounded, then exact ones where they matter.

    Args:
        dictionary: of this project, or a NumPy or scipy.sparse (m, n) matrix; one of scipy.sparse whose columns are
            at most half full has a mask, with stored zeros where a column has fewer entries than others.
        dynamic_range: largest over least modulus of the codes that TOPK-1 is asked for.
        time_limit: seconds for the exhaustive searches of sets of columns that collide most; 0 for none.
        progress: show progress bars on standard error.

    Returns:
        a JSON value; :func:`write_certificate` stores it.

    Raises:
        InvalidArgument: no dictionary, a dynamic range below 1, or a negative time limit.
    """
    rational = isinstance(dynamic_range, int | Fraction) and dynamic_range >= 1
    short = rational and max(Fraction(dynamic_range).as_integer_ratio()) < 10**1000
    allowed = "must be a rational number (Fraction), at least 1, of at most 1000 digits"
    require(short, "dynamic_range", dynamic_range, allowed)
    require(time_limit >= 0, "time_limit", time_limit, "must be at least 0 seconds")
    w = as_dictionary(dictionary)
    if isinstance(w, Dictionary):
        return _hashed(_masked(w, Fraction(dynamic_range), time_limit, progress))
    return _hashed(_dense(w, Fraction(dynamic_range), progress))


def _masked(dictionary: Dictionary, dynamic_range: Fraction, time_limit: float, progress: bool) -> dict[str, Any]:
    mask = dictionary.mask
    exact = ExactValues(dictionary.values)
    values = value_facts(dictionary, exact)
    histogram = column_overlaps(mask)
    overlap, pair = _largest_overlap(mask, histogram)
    triangle_free = not has_triangle(Graph(mask.rows, *mask.row_lists), mask.m) if overlap <= 1 else None
    sums, columns = gram_sums(dictionary, exact, values.least.value, progress=progress)
    losses = loss_bounds(mask, histogram, time_limit=time_limit, progress=progress)
    facts = Facts(
        n=mask.n,
        d=mask.d,
        losses=[bound.loss for bound in losses],
        gram=sums,
        least_norm=values.least.value,
        c_squared=values.c_squared.value,
        beta=values.beta.value,
        overlap=overlap,
        triangle_free=triangle_free,
        r=dynamic_range,
        refusals={
            "full mask": _needs_full_mask(values.first_zero),
            "unit columns": _needs_unit_columns(values.off_unit),
            "o <= 1": _needs_overlap_one(overlap, pair),
            "binary": None if values.binary else "needs equal positive values",
        },
    )
    return {
        "format": FORMAT,
        "version": VERSION,
        "dictionary": {"sha256": dictionary.sha256, "m": mask.m, "n": mask.n, "d": mask.d},
        "dynamic_range": str(facts.r),
        "facts": {
            "norms": {
                "least": str(values.least.value),
                "least_column": values.least.column,
                "largest": str(values.largest.value),
                "largest_column": values.largest.column,
            },
            "zeros": {"count": values.zeros, "first_column": values.first_zero},
            "flatness": {
                "C_squared": str(values.c_squared.value),
                "C_column": values.c_squared.column,
                "beta": str(values.beta.value),
                "beta_column": values.beta.column,
            },
            "binary": values.binary,
            "overlap": {"largest": overlap, "pair": pair},
            "triangle_free": triangle_free,
            "losses": [
                {
                    "size": bound.size,
                    "loss": bound.loss,
                    "by": bound.by,
                    "from": bound.source,
                    "witness": None if bound.witness is None else list(bound.witness),
                }
                for bound in losses
            ],
            "gram": {"sums": [str(total) for total in sums], "columns": columns},
        },
        "claims": [claim.entry(facts) for claim in CLAIMS],
    }


def _dense(dictionary: DenseDictionary | BlockDictionary, dynamic_range: Fraction, progress: bool) -> dict[str, Any]:
    part = without_blocks(dictionary)
    found = dense_facts(part.values, progress=progress)
    facts = Facts(
        n=part.n,
        d=part.m,
        losses=[],
        gram=found.sums,
        least_norm=found.least.value,
        c_squared=Fraction(0),
        beta=Fraction(0),
        overlap=0,
        triangle_free=None,
        r=dynamic_range,
        refusals={"unit columns": _needs_unit_columns(found.off_unit)},
    )
    kind = "dense" if isinstance(dictionary, DenseDictionary) else "blocks"
    return {
        "format": FORMAT,
        "version": DENSE_VERSION,
        "dictionary": {"sha256": dictionary.sha256, "kind": kind, "m": part.m, "n": part.n},
        "dynamic_range": str(facts.r),
        "facts": {
            "norms": {
                "least": str(found.least.value),
                "least_column": found.least.column,
                "largest": str(found.largest.value),
                "largest_column": found.largest.column,
            },
            "gram": {"sums": [str(total) for total in found.sums], "columns": found.columns},
        },
        "claims": [claim.entry(facts) for claim in CLAIMS if claim.maskless],
    }


def _hashed(certificate: dict[str, Any]) -> dict[str, Any]:
    return certificate | {"sha256": hashlib.sha256(canonical_json(certificate).encode()).hexdigest()}


def write_certificate(certificate: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write what :func:`certify` returned as indented JSON, atomically.

    Raises:
        OSError: the folder cannot be written, or the disk is full; what was at ``path`` is unchanged.
    """
    atomic_write(path, json.dumps(certificate, indent=2, allow_nan=False).encode() + b"\n")


def _largest_overlap(mask: Mask, histogram: NDArray[np.int32]) -> tuple[int, list[int] | None]:
    """The largest |N(j) cap N(l)|, and the first pair j < l that has it."""
    if mask.n == 1:
        return 0, None
    present = np.nonzero(histogram.any(axis=0))[0]
    if present.size == 0:
        return 0, [0, 1]
    overlap = int(present.max())
    j = int(np.argmax(histogram[:, overlap] > 0))  # its partner comes later, or would be first itself
    shared = np.isin(mask.rows, mask.rows[j]).sum(axis=1)
    shared[j] = -1
    return overlap, [j, int(np.argmax(shared == overlap))]


def _needs_full_mask(column: int | None) -> str | None:
    return None if column is None else f"needs a full mask: column {column} has a zero entry"


def _needs_unit_columns(off_unit: Extreme | None) -> str | None:
    if off_unit is None:
        return None
    try:
        norm = float(off_unit.value)
    except OverflowError:
        norm = float("inf")
    return f"needs unit columns: column {off_unit.column} has squared norm {norm:.6g}"


def _needs_overlap_one(overlap: int, pair: list[int] | None) -> str | None:
    if overlap <= 1 or pair is None:
        return None
    return f"needs overlap at most 1: columns {pair[0]} and {pair[1]} share {overlap} rows"
