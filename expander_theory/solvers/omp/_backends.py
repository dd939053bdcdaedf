"""Ways to run OMP on a batch, and which is the cheapest: the answers do not depend on the choice."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, cast

import numpy as np

from expander_theory._kernels.linear import vectors
from expander_theory._kernels.omp import (
    block_tile as omp_block_tile,
    gram as omp_gram,
    plain as plain,
    product as omp_product,
    pursuit,
    push as omp_push,
    tile as omp_tile,
)
from expander_theory.base import require, require_choice
from expander_theory.dictionaries import AnyDictionary, BlockDictionary, DenseDictionary, Dictionary
from expander_theory.solvers.omp.prepared import Prepared

Backend = Literal["auto", "tile", "push", "gram", "product", "plain"]
MASKED_DESIGNS = ("tile", "push", "gram", "plain")
BLOCK_DESIGNS = ("tile", "gram", "plain")
DENSE_DESIGNS = ("gram", "product", "plain")
SELECTIONS = ("magnitude", "signed", "nonnegative")

_GRAM_BYTES = 2**30
"""G and its half-precision copy must fit here."""
_SPILL_BYTES = 2**20
"""Scores of so many bytes double what an update of one of them costs."""
_TOGETHER = 64
"""Signals whose first correlations, or all, come from one matrix product."""


def work_estimate(
    m: int, n: int, d: int, *, k: int, batch: int, dtype: Any, masked: bool = True, r: int = 0, spilling: bool = True
) -> dict[str, float]:
    """Nanoseconds per signal that each backend should need on one core, to order of magnitude.

    Tile and push are fitted on an AVX2 processor: products of 16-bit integers at 30 (a tile of float32) and 22
    (float64) a nanosecond, first correlations at 10 and 5, and what a step costs besides. A scattered update takes
    2.2 ns while the n scores of a signal stay in a cache of some MiB, and once more as long for every MiB that they
    take. (Not ``spilling``: 1.1 ns, whatever n is, which is too little from some thousand columns.)
    So are gram, at 6 screened products a nanosecond (half that time on planted codes, twice on noise, where more has to
    be computed exactly; with AVX-512 half of all that), and product, at 25; the Gram matrix itself is formed at 50. The
    preparation of a backend (row lists, Gram matrix) is divided by the batch. Of the n columns, r are dense beside
    masked ones.
    """
    single = np.dtype(dtype).itemsize == 4
    lanes, width = vectors.lanes_of(dtype), (1.0 if single else 2.0)
    squares = k * (150 + 4 * k + 1.1 * k * d)  # least squares and residual of one signal
    nonzeros = (n - r) * d + 2 * r * m
    found = {"plain": k * (1.2 * nonzeros + k * d) + squares}
    if masked:
        full = -(-batch // lanes) * lanes / batch
        found["tile"] = k * (nonzeros / (30 if single else 22) * full + 400) + squares
        meetings = np.arange(k) * d * d / m  # chosen atoms that the next one meets
        rows = np.minimum(d * (1 + 0.2 * meetings), m)  # that push: the atom's own, and few of those it moves
        first = nonzeros * width / 10 if 4 * batch >= lanes else 1.2 * nonzeros
        scan = 1.5 * n * width
        if r == 0:  # a dense column would push to all
            update = 2.2 * (1 + n * np.dtype(dtype).itemsize / _SPILL_BYTES) if spilling else 1.1
            pushed = update * float(rows.sum()) * nonzeros / m
            found["push"] = first + pushed + scan + 600 * k + squares + 6 * nonzeros / batch
    if n * n * (np.dtype(dtype).itemsize + 2) <= _GRAM_BYTES:
        gram = n * n * (m * width / 50 + 8) / batch
        screened = k * n * (k / 6 + 1.8) * (0.5 if _wide_vectors() else 1.0)
        found["gram"] = gram + m * n * width / 50 + screened + k * (300 + 14 * k)
    if not masked:
        found["product"] = k * (m * n * width / 25 + 0.7 * n + m * k * 0.3) + squares * 0.1
    return found


@cache
def _wide_vectors() -> bool:
    """Whether the processor has AVX-512 with 16-bit integers."""
    from llvmlite.binding import get_host_cpu_features

    return bool(get_host_cpu_features().get("avx512bw", False))


def choose_backend(dictionary: AnyDictionary, batch: int, k: int, dtype: Any, *, spilling: bool = True) -> Backend:
    """The backend of least :func:`work_estimate` for a batch of signals."""
    part, r = (dictionary.masked, dictionary.r) if isinstance(dictionary, BlockDictionary) else (dictionary, 0)
    m, n, masked = dictionary.m, dictionary.n, isinstance(part, Dictionary)
    work = work_estimate(m, n, part.d, k=k, batch=max(1, batch), dtype=dtype, masked=masked, r=r, spilling=spilling)
    return cast(Backend, min(work, key=lambda backend: work[backend]))


def designs(dictionary: AnyDictionary) -> tuple[str, ...]:
    """The backends of a kind of dictionary."""
    if isinstance(dictionary, BlockDictionary):
        return BLOCK_DESIGNS
    return DENSE_DESIGNS if isinstance(dictionary, DenseDictionary) else MASKED_DESIGNS


def resolve_backend(backend: str, dictionary: AnyDictionary, batch: int, k: int, dtype: Any, selection: str) -> str:
    """The backend asked for, or the cheapest for "auto".

    Raises:
        InvalidArgument: no backend of this kind of dictionary or selection.
    """
    require_choice("backend", backend, ("auto", *designs(dictionary)))
    if selection == "nonnegative":
        require(
            backend in ("auto", "plain"), "backend", repr(backend), "must be plain (or auto) for nonnegative selection"
        )
        return "plain"
    return choose_backend(dictionary, batch, k, dtype) if backend == "auto" else backend


def signals_together(backend: str, dtype: Any) -> int:
    """How many signals a backend computes at a time: threads that split these would change the last bits."""
    return _TOGETHER if backend in ("gram", "product") else vectors.lanes_of(dtype)


def run_plain(p: Prepared, signals: Any, rule: pursuit.Rule, found: pursuit.Found, selection: str) -> None:
    """One signal at a time, by a Cholesky factor, from the definition."""
    plain.omp(p.rows, p.values, signals, rule.tolerance, rule.pivot, SELECTIONS.index(selection), found)


def run_tile(p: Prepared, signals: Any, rule: pursuit.Rule, found: pursuit.Found, selection: str) -> None:
    """See :mod:`expander_theory._kernels.omp.tile`, and of blocks :mod:`expander_theory._kernels.omp.block_tile`."""
    k, m = found.indices.shape[1], p.dictionary.m
    scratch = pursuit.new_scratch(k, m, p.dtype)
    if isinstance(p.dictionary, BlockDictionary):
        own = omp_block_tile.new_block_tile(k, m, p.dictionary.n, p.dictionary.r, p.dtype)
        omp_block_tile.omp_block_tile(p.rows, p.values, *p.parts, p.words, signals, rule, found, own, scratch)
        return
    tile = omp_tile.new_tile(k, m, p.dictionary.n, p.dtype)
    omp_tile.omp_tile(p.rows, p.values, p.words, signals, rule, found, tile, scratch)


def run_push(p: Prepared, signals: Any, rule: pursuit.Rule, found: pursuit.Found, selection: str) -> None:
    """See :mod:`expander_theory._kernels.omp.push`."""
    k, m = found.indices.shape[1], p.dictionary.m
    rows, values = p.padded
    push, scratch = omp_push.new_push(k, m, len(rows), p.dtype), pursuit.new_scratch(k, m, p.dtype)
    *lists, weights = p.row_lists
    omp_push.omp_push(rows, values, omp_push.RowLists(*lists), weights, signals, rule, found, push, scratch)


def run_gram(p: Prepared, signals: Any, rule: pursuit.Rule, found: pursuit.Found, selection: str) -> None:
    """See :mod:`expander_theory._kernels.omp.gram`."""
    k, m = found.indices.shape[1], p.dictionary.m
    screen, scratch = omp_gram.new_screen(k, p.dictionary.n, p.dtype), pursuit.new_scratch(k, m, p.dtype)
    for first in range(0, len(signals.h), _TOGETHER):
        block = slice(first, first + _TOGETHER)
        correlations = (signals.h[block] * signals.scales[block, None]) @ p.columns.T
        omp_gram.omp_gram(p.rows, p.values, p.gram, correlations, signals, rule, found, screen, scratch, first)


def run_product(p: Prepared, signals: Any, rule: pursuit.Rule, found: pursuit.Found, selection: str) -> None:
    """See :mod:`expander_theory._kernels.omp.product`."""
    k, m = found.indices.shape[1], p.dictionary.m
    scratch = pursuit.new_scratch(k, m, p.dtype)
    for first in range(0, len(signals.h), _TOGETHER):
        count = min(_TOGETHER, len(signals.h) - first)
        block = omp_product.new_block(count, k, m, p.dtype)
        omp_product.begin(signals, rule, first, block)
        active = int((block.running == pursuit.RUNNING).sum())
        while active:
            correlations = block.residuals @ p.values.T
            active = omp_product.advance(p.values, correlations, signals, rule, found, first, block, scratch)
        omp_product.end(p.values, signals, rule, found, first, block, scratch)


BACKENDS: dict[str, Callable[[Prepared, Any, pursuit.Rule, pursuit.Found, str], None]] = {
    "plain": run_plain,
    "tile": run_tile,
    "push": run_push,
    "gram": run_gram,
    "product": run_product,
}
