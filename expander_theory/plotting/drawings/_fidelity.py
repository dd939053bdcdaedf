"""Fidelity of one's own SAEs against the size of their decoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expander_theory.plotting._inputs import is_json, stored_records
from expander_theory.plotting.drawings.output import Drawing
from expander_theory.plotting.frontier import evaluations, plot_frontier
from expander_theory.plotting.style import panels
from expander_theory.results import EvaluationRecord, records_of

_SHOWN = ("recovered_zero", "fvu")
_WITH_INTERVAL = ("recovered_zero", "recovered_mean", "delta", "kl", "fvu")
_COLUMNS = (
    *("name", "architecture", "m", "n", "d", "k", "decoder_values", "l0", "dead"),
    *_WITH_INTERVAL,
)


def draw(*paths: Path) -> Drawing | None:
    """From the files of ``expander sae eval``, all together, or a ledger; None where it evaluates no SAE."""
    if not is_json(paths[0]) and not records_of(stored_records(paths[0]), EvaluationRecord):
        return None
    rows = [row for path in paths for row in evaluations(path)]
    figure, axes = panels(len(_SHOWN), 3.4, 3.0)
    for axis, name in zip(axes, _SHOWN, strict=True):
        if any(row.get(name) is not None for row in rows):
            plot_frontier(rows, ax=axis, y=name)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle("SAEs on held-out activations; bars: 95 % intervals", fontsize=9)
    return Drawing({"fidelity": figure}, {"fidelity": [_flat(row) for row in rows]})


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name in _COLUMNS:
        flat[name] = row.get(name)
        if name in _WITH_INTERVAL:
            flat[f"{name}_low"], flat[f"{name}_high"] = row.get(f"{name}_interval") or (None, None)
    return flat
