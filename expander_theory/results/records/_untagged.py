"""Lines of ledgers that were written before records said what they are: told apart by the ledger's kind and by keys.

Nothing else looks for keys. An untagged line is of version 1 of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from expander_theory.results.records.codec import KIND_KEY, VERSION_KEY
from expander_theory.results.records.masks import renamed

Line = Mapping[str, Any]
Fields = dict[str, Any]


def tagged(ledger_kind: Any, line: Line) -> Fields | None:
    """The line as a record of today is stored; None where it is no record of this project's.

    Args:
        ledger_kind: what the ledger's identity says under "kind". What a sweep writes is known in a ledger of any kind.
        line: without kind and version.

    Raises:
        ValueError: the line is of a format that is no longer read.
    """
    known = _LEDGERS.get(ledger_kind) if isinstance(ledger_kind, str) else None
    found = (known or _trials)(line)
    if found is None:
        return None
    kind, fields = found
    return {**fields, KIND_KEY: kind, VERSION_KEY: 1}


Found = tuple[str, Fields] | None


def _trials(line: Line) -> Found:
    if isinstance(line.get("task"), str):
        return _results(line)
    return ("certificate", dict(line)) if {"certified_k", "draw", "family", "m", "n", "d"} <= line.keys() else None


def _sweep(line: Line) -> Found:
    found = _results(line)
    if found is None and "certified_k" in line:
        return "certificate", dict(line)
    if found is None and "part" in line:
        names = {"processor seconds": "processor_seconds", "trials timed": "trials"}
        return "timing", {names.get(key, key): value for key, value in line.items()}
    return found


def _results(line: Line) -> Found:
    if {"outcome", "first"} <= line.keys():
        raise ValueError(_CHUNKS)
    if {"outcome", "block"} <= line.keys():
        return "block", dict(line)
    if "failed" in line:
        return "failure", dict(line)
    return ("task", dict(line)) if {"content", "task"} <= line.keys() else None


_CHUNKS = (
    "has the format of an earlier release (a record for each chunk of trials): run the sweep again in a new folder"
)


def _suite(line: Line) -> Found:
    if "null" in line:
        return "null", {"name" if key == "null" else key: value for key, value in line.items()}
    for key, kind in (("name", "evaluation"), ("group", "membership"), ("pair", "pair"), ("baselines", "baselines")):
        if key in line:
            return kind, dict(line)
    return None


def _mask(line: Line) -> Found:
    return "mask", renamed(line)


def _recovery(line: Line) -> Found:
    measures = line.get("measures")
    return "recovery", {**line, "measures": renamed(measures) if isinstance(measures, Mapping) else measures}


def _certified(line: Line) -> Found:
    fields = {key: value for key, value in line.items() if not _is_ratio(key)}
    ratios = {key: value for key, value in line.items() if _is_ratio(key)}
    return "certified", {**fields, "ratios": ratios} if ratios else fields


def _is_ratio(key: str) -> bool:
    return key.startswith(("R_id(", "R_OMP("))


def _all(kind: str) -> Callable[[Line], Found]:
    return lambda line: (kind, dict(line))


_LEDGERS: dict[str, Callable[[Line], Found]] = {
    **dict.fromkeys(("sweep", "phase transition", "phase boundary", "synthetic study", "solver comparison"), _sweep),
    "sae suite": _suite,
    "mask geometry": _mask,
    "recovery": _recovery,
    "certified": _certified,
    "amortisation": _all("amortisation"),
    "novelty": _all("novelty"),
    "attack": _all("attack"),
    "coverage": _all("coverage"),
    "cost": _all("cost"),
    "identifiability": _all("identifiability"),
    "reproduce": _all("stage"),
    "sae training": _all("step"),
    "learning rates": _all("rate"),
}
"""By what the ledger's identity says under "kind"."""
