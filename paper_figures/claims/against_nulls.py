"""Where a code that has learned nothing is beaten, by model, layer, d and k."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expander_theory.results import NullRecord
from paper_figures.claims.base import OURS, Claim, Finding, Verdict, training_scale, unlearned
from paper_figures.figures.saes.against_nulls import beats, lines, places, title
from paper_figures.figures.saes.suite import Group, Member, shown
from paper_figures.published import GEOMETRY


def _beaten(results: Path) -> Finding | None:
    found = places(sorted(results.glob("**/saes/ledger.jsonl")))
    plain = [(place, seeds) for place in found for line in _plain(place) for seeds in line]
    if not plain:
        return None
    won = sum(beats(seeds, place) for place, seeds in plain)
    verdict: Verdict = "supported" if won == len(plain) else "partly" if won else unlearned(found[0])
    numbers = [f"plain SAEs that beat the null: {won} of {len(plain)}", *map(_in_words, found)]
    return Finding(verdict, (*numbers, GEOMETRY), "; ".join(dict.fromkeys(map(training_scale, found))))


def _plain(found: Group) -> list[list[list[Member]]]:
    """TopK SAEs on masks, over k: neither dense nor by OMP."""
    every = lines(found).values()
    return [line for line in every if line[0][0].architecture != "dense" and line[0][0].encoder == "tied"]


def _in_words(found: Group) -> str:
    """Of one model and layer: at which k each recipe beats the null, and the measures at the setting's own k."""
    own, said = found.identity["recipe"]["k"], []
    for label, line in lines(found).items():
        where = [str(seeds[0].k) for seeds in line if beats(seeds, found)]
        at = "every k" if len(where) == len(line) > 1 else f"k = {', '.join(where)}" if where else "no k"
        here = next((seeds for seeds in line if seeds[0].k == own), None)
        measures = f" (k = {own}: {_measures(here)})" if here else ""
        said.append(f"{label} beats it at {at}{measures}")
    null = f"the null has {_measures([found.null])}" if found.null else "the null was not measured"
    return f"{title(found)}: {', '.join([null, *said])}"


def _measures(rows: Sequence[Member] | Sequence[NullRecord]) -> str:
    return f"CE recovered {shown(rows, 'recovered_zero')}, FVU {shown(rows, 'fvu')}"


NULLS: Sequence[Claim] = (
    Claim(
        "against the null", "A TopK SAE on a sparse mask is worth more than a code that has learned nothing.", OURS,
        "expander experiment nulls",
        "at every model, layer, d and k its CE is clearly below that of the coordinate null at the same k (paired "
        "bootstrap) and its FVU is lower; partly at some; no better than the null at none",
        ("against_nulls",), _beaten,
    ),
)  # fmt: skip
