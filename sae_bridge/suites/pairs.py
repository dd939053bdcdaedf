"""One code against another on the same held-out contexts: ratio of CE recovered, difference of CE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from expander_theory.results import Ledger
from sae_bridge.evaluation import Bootstrap, Losses


def append_pairs(ledger: Ledger, known: Losses, pairs: Iterable[tuple[str, str]]) -> None:
    """Compare what the ledger holds: SAEs and nulls by name, each pair once; what it does not hold is left out.

    Args:
        ledger: of evaluations, open; gets a record of each new pair.
        known: clean and ablated losses of the held-out contexts.
        pairs: (name, name of what it is compared with).
    """
    paired = {(r["pair"], r["to"]) for r in ledger.records if "pair" in r}
    measured = {r["name"]: r for r in ledger.records if "name" in r}
    measured |= {r["null"]: r for r in ledger.records if "null" in r}
    bootstrap = Bootstrap(known.documents)
    for own, other in dict.fromkeys(pairs):
        if own != other and (own, other) not in paired and other in measured:
            about = _compared(known, bootstrap, measured[own], measured[other])
            ledger.append({"pair": own, "to": other, **about})


def _compared(known: Losses, bootstrap: Bootstrap, own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    ours, theirs = (np.array(record["ce_by_context"]) for record in (own, other))
    ratio, ratio_interval = bootstrap.ratio(known.ce["zero"] - ours, known.ce["zero"] - theirs)
    difference, difference_interval = bootstrap.mean(ours - theirs, known.predictions)
    return {
        "ratio": ratio,
        "ratio_interval": ratio_interval,
        "ce_difference": difference,
        "ce_difference_interval": difference_interval,
    }
