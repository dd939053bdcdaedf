"""Where is a code that has learned nothing beaten? TopK SAEs and SAEs with OMP in the loop over k, at every place."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sae_bridge.suites import Member, SAESuite, Setting

GROUP = "nulls"
"""The experiment, in each place's ledger."""


def run(places: Sequence[Setting], out: Path, device: str = "cpu") -> None:
    """Train and measure what the ledgers do not hold yet: one suite a place, in a folder of its name.

    Args:
        places: models, layers and sizes.
        out: results folder. A preset's own setting shares its SAEs with the other experiments there; that of another
            place lies in ``nulls/PLACE``.
        device: torch device of everything.
    """
    from expander_theory.base import progress_bar
    from sae_bridge.suites import SAESuite, settings

    known = settings()
    for setting in progress_bar(places, unit="place", desc="against the null", show=len(places) > 1):
        suite = SAESuite(setting, out if setting.name in known else out / "nulls" / setting.name, device)
        suite.compare(GROUP, members(suite))


def members(suite: SAESuite) -> list[Member]:
    """The plain SAEs of every degree and the one by OMP, over k; dense at the setting's own k, for scale."""
    from sae_bridge.suites import architecture, by_omp, sparsities

    setting = suite.setting
    ks = tuple(sorted({*setting.ks, setting.recipe.k}))
    plain = sparsities(setting.recipe, tuple(sorted(setting.sparse_degrees)), ks)
    found = [*plain, *by_omp(setting.recipe, setting.d, ks), architecture(setting.recipe, None)]
    return list(product(found, setting.seeds))
