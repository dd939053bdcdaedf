"""The list ``losses`` of FORMAT.md: every entry by its rule, every witness, and where the list ends."""

from itertools import pairwise
from typing import Any

import numpy as np

from expander_theory.certificates._check.facts import LONGEST
from expander_theory.certificates._check.fields import Refused, agree, shown
from expander_theory.certificates._check.overlaps import Ints, sums_of_largest
from expander_theory.certificates._check.search import Effort, TooLong, find_loss


def check_losses(
    entries: list[dict[str, Any]],
    m: int,
    rows: Ints,
    counts: Ints,
    overlap: int,
    *,
    progress: bool,
    effort: Effort,
) -> list[int]:
    """[0, U_1, ..., U_T], each proved here to bound coll of every set of t columns.

    Args:
        counts: ``counts[j, v]`` columns share v rows with column j.
        overlap: the largest overlap o.
        effort: what the searches may take.

    Raises:
        Refused: an entry that its rule does not give, a wrong witness, a list that is too short or too long.
    """
    n, d = rows.shape
    bounds = [0]
    nearest = sums_of_largest(counts, min(len(entries), n, LONGEST) - 1) if entries else np.zeros((n, 1), np.int64)
    for t, entry in enumerate(entries, 1):
        if t > 1 and _ends(t - 1, bounds[-1], n, d):
            raise Refused("facts.losses", f"has {len(entries)} entries, must end at size {t - 1}")
        field = f"facts.losses[{t - 1}]"
        agree(f"{field}.size", entry["size"], t)
        _check_origin(field, t, entry)
        by, s, loss = entry["by"], entry["from"], entry["loss"]
        if not 0 <= loss <= d * t:
            raise Refused(f"{field}.loss", f"is {shown(loss)}, must be between 0 and d t = {d * t}")
        from_overlaps, from_subset = overlap_bound(t, d, overlap, nearest[:, t - 1]), bounds[t - 1] + d
        if by != "search":
            rules = {"single": 0, "overlap": from_overlaps, "subset": from_subset}
            true = rules[by] if s is None else bounds[s] * t * (t - 1) // (s * (s - 1))
            agree(f"{field}.loss", loss, true)
        elif loss < min(from_overlaps, from_subset):  # else these prove it already
            _check_search(field, m, rows, t, loss, bounds, progress, effort)
        if entry["witness"] is not None:
            _check_witness(field, rows, t, loss, entry["witness"])
        bounds.append(loss)
    if not entries or not _ends(len(entries), bounds[-1], n, d):
        raise Refused("facts.losses", f"ends too early, at size {len(entries)}")
    return bounds


def overlap_bound(t: int, d: int, overlap: int, nearest: Ints) -> int:
    """U_t of EXP-3(b), (c), (d) and d(t - 1), whichever is least; ``nearest[j]`` = O_j(t - 1)."""
    by_order = d * t - sum(max(0, d - overlap * i) for i in range(t))
    by_squares = d * t + -d * d * t // (d + overlap * (t - 1))  # floor of the negative: minus the ceiling
    largest = np.partition(nearest, len(nearest) - t)[len(nearest) - t :]
    return min(by_order, by_squares, int(largest.sum()) // 2, d * (t - 1))


def _ends(t: int, loss: int, n: int, d: int) -> bool:
    return 2 * loss >= d * t or t in (n, LONGEST)


def _check_origin(field: str, t: int, entry: dict[str, Any]) -> None:
    """``by`` is a rule that may stand at size t, ``from`` is what it needs."""
    by, origin = entry["by"], entry["from"]
    first = {"single": 1, "overlap": 1, "search": 1, "subset": 2, "transfer": 3}.get(by)
    if first is None or t < first or (by == "single" and t > 1):
        raise Refused(f"{field}.by", f"is {shown(by)}, which is no rule for sets of {t} columns")
    if by != "transfer":
        agree(f"{field}.from", origin, None)
    elif origin is None or not 2 <= origin < t:
        raise Refused(f"{field}.from", f"is {shown(origin)}, must be a size from 2 to {t - 1}")


def _check_search(
    field: str, m: int, rows: Ints, t: int, loss: int, bounds: list[int], progress: bool, effort: Effort
) -> None:
    try:
        found = find_loss(m, rows, t, loss + 1, bounds, progress=progress, effort=effort)
    except TooLong as limit:
        raise Refused(field, f"not verified: the searches up to it would need more than {limit}") from None
    if found is not None:
        true = _loss(rows, found)
        raise Refused(f"{field}.loss", f"is {loss}, but {t} columns that include {found} lose at least {true}")


def _check_witness(field: str, rows: Ints, t: int, loss: int, witness: list[int]) -> None:
    field, n = f"{field}.witness", rows.shape[0]
    if len(witness) != t or any(not 0 <= j < n for j in witness):
        raise Refused(field, f"is {shown(witness)}, must be {t} columns of 0..{n - 1}")
    if any(a >= b for a, b in pairwise(witness)):
        raise Refused(field, f"is {shown(witness)}, must be increasing")
    true = _loss(rows, witness)
    if true != loss:
        raise Refused(field, f"{shown(witness)} is said to have loss {loss}, its true value is {true}")


def _loss(rows: Ints, columns: list[int]) -> int:
    return len(columns) * rows.shape[1] - len({int(i) for j in columns for i in rows[j]})
