"""Claim: expansion and flatness give identifiability. Exact margins and exact uniqueness on small dictionaries."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expander_theory.base import derived_seed, progress_bar
from expander_theory.dictionaries import Dictionary, Floats, flat_dictionary
from expander_theory.masks import uniform_mask
from expander_theory.results import IdentifiabilityRecord, Ledger
from expander_theory.theorems import Case, spark


@dataclass(frozen=True)
class Scale:
    """Small dictionaries on which everything can be enumerated.

    Attributes:
        n, d, k: columns, nonzeros a column, sparsity; margins are over codes of at most 2k nonzeros.
        m: rows, which move eps.
        flatness: C of all columns, 1 to sqrt(d).
        draws: dictionaries for each m and C.
    """

    n: int
    d: int
    k: int
    m: tuple[int, ...]
    flatness: tuple[float, ...]
    draws: int


SCALES = {
    "quick": Scale(8, 4, 2, (5, 6, 8, 10, 13, 17, 24), (1.0, 1.3, 1.7), 10),
    "full": Scale(12, 4, 2, (5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 32), (1.0, 1.15, 1.3, 1.5, 1.7, 1.9), 10),
}


def run(scale: Scale, seed: int, folder: Path) -> None:
    """Measure every dictionary that the ledger does not hold yet."""
    content = {key: value for key, value in asdict(scale).items() if key not in ("m", "flatness", "draws")}
    with Ledger(folder / "ledger.jsonl", {"kind": "identifiability", "seed": seed, **content}) as ledger:
        done = {(record.m, record.flatness, record.draw) for record in ledger.of(IdentifiabilityRecord)}
        cases = itertools.product(scale.m, scale.flatness, range(scale.draws))
        todo = [case for case in cases if case not in done]
        for m, flatness, draw in progress_bar(todo, unit="dictionary", desc="identifiability", show=bool(todo)):
            own = derived_seed(seed, f"{m} {draw}")  # one mask for all values of flatness
            w = flat_dictionary(uniform_mask(m, scale.n, scale.d, seed=own), flatness=flatness, seed=own)
            ledger.append(IdentifiabilityRecord(m=m, flatness=flatness, draw=draw, **measure(w, scale.k)))


def measure(w: Dictionary, k: int) -> dict[str, Any]:
    """eps_2k, the bound on the margin, the margin, and spark of one dictionary."""
    case = Case(w, k)
    eps = case.eps(2 * k).high
    fewest = spark(case)
    return {
        "eps": float(eps),
        "bound": float(1 - 2 * case.top_mass(eps * case.d)),
        "margin": least_ratio(w.to_dense(), 2 * k),
        "spark": min(fewest, w.n + 1),
        "unique": fewest > 2 * k,
    }


def least_ratio(W: Floats, size: int) -> float:
    """min ||Wx||_1 / sum_j ||w_j||_1 |x_j| over x != 0 of at most ``size`` nonzeros.

    On a support, ||Wx||_1 is linear on every cell that the hyperplanes (Wx)_i = 0 and x_j = 0 cut out of the sphere of
    the denominator, so its minimum is at a vertex: a solution of size - 1 of these equations.
    """
    scaled = W / np.abs(W).sum(axis=0)
    least = 1.0
    for support in itertools.combinations(range(W.shape[1]), min(size, W.shape[1])):
        columns = scaled[:, support]
        columns = columns[columns.any(axis=1)]
        planes = np.vstack([columns, np.eye(len(support))])
        chosen = np.array(list(itertools.combinations(range(len(planes)), len(support) - 1)), dtype=np.intp)
        vertices = _normals(planes[chosen])
        norms = np.abs(vertices).sum(axis=1)
        proper = norms > 0  # equations that are dependent have no vertex of their own
        least = min(least, (np.abs(vertices[proper] @ columns.T).sum(axis=1) / norms[proper]).min())
    return float(least)


def _normals(planes: Floats) -> Floats:
    """The vector orthogonal to s - 1 others: planes (..., s - 1, s) to (..., s), by cofactors; 0 if dependent."""
    s = planes.shape[-1]
    minors = [np.linalg.det(np.delete(planes, j, axis=-1)) for j in range(s)]
    return np.stack(minors, axis=-1) * (-1.0) ** np.arange(s)
