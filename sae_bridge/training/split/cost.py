"""What splitting features over P processes costs each of them: bytes on the wire a token, and memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from expander_theory.base import require


@dataclass(frozen=True)
class SplitCost:
    """Of one process, with collectives on rings.

    Attributes:
        forward, backward, auxk: bytes sent a token: by coding and decoding; by their gradients; by AuxK, in steps in
            which k_aux features or more are dead in some process.
        parameters: bytes of values, gradients, both moments, supports and counters.
        building: bytes of the whole mask, which every process draws before it keeps its part.
        codes: bytes of a batch that do not fall with P: tokens, reconstruction, residual and their gradients (5 B m
            floats), and the strengths of all candidates with their places.
    """

    forward: float
    backward: float
    auxk: float
    parameters: int
    building: int
    codes: int


def split_cost(
    processes: int, *, m: int, n: int, d: int | None, k: int, batch: int, untied: bool = False, k_aux: int | None = None
) -> SplitCost:
    """The cost of TopK in float32, by counting.

    A process sends its k strengths (4 k bytes a token) to P - 1 others, and in a ring all-reduce 2 (P - 1) / P times
    the 4 m bytes of a partial reconstruction. The gradient of the reconstruction is the same in all processes and is
    not sent; b_dec's through the encoder is m floats a batch. Indices and gradients of columns are never sent: the
    bytes depend on n not at all.

    Args:
        processes: P.
        m, n, d, k: of the SAE; d is None where it is dense.
        batch: tokens a step.
        untied: whether the encoder has values of its own.
        k_aux: as AuxK has it; None: the power of two nearest to m / 2.

    Raises:
        InvalidArgument: a size below 1, or more processes than features.
    """
    for name, value in (("processes", processes), ("m", m), ("n", n), ("k", k), ("batch", batch)):
        require(value >= 1, name, value, "must be at least 1")
    require(processes <= n, "processes", processes, f"must be at most n = {n}")
    require(d is None or 1 <= d <= m, "d", d, f"must be between 1 and m = {m}, or None")
    others, width = processes - 1, m if d is None else d
    ring = 2 * others / processes
    places = k_aux if k_aux is not None else 2 ** round(math.log2(max(1.0, m / 2)))
    columns = -(-n // processes)
    trained = columns * ((2 if untied else 1) * width + 1) + m
    return SplitCost(
        forward=others * 4 * k + ring * 4 * m,
        backward=ring * 4 * m / batch,
        auxk=others * 4 * places + ring * 4 * m,
        parameters=16 * trained + (0 if d is None else 4 * d * columns) + 8 * columns,
        building=0 if d is None else 4 * d * n,
        codes=batch * (5 * 4 * m + 12 * processes * k),
    )
