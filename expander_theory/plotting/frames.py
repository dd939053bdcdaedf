"""Results as data frames of pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from expander_theory.base import InvalidArgument, InvalidFile, optional_module
from expander_theory.plotting._inputs import as_row, is_json, is_place, listed, stored_json
from expander_theory.results import find_ledger, read_contents
from expander_theory.simulation import Cell, cell_rows, is_sweep, ledger_rows
from expander_theory.solvers import Recovery

if TYPE_CHECKING:
    from pandas import DataFrame

_ALLOWED = "cells, records, a Recovery, or the path of a ledger or of a JSON file that a command wrote"


def to_dataframe(results: Any) -> DataFrame:
    """Results as a ``pandas.DataFrame``, one row each; ``polars.from_pandas`` takes it as it is.

    **A sweep** (its cells, or the path of its ledger): one row a cell. ``family``, ``values``: of the dictionary;
    ``d``, ``m``, ``n``, ``k``: nonzeros a column, rows, columns, nonzeros of a code; ``codes``, ``noise``, ``success``:
    law of the codes, noise, and what counts as success; ``solver``; ``dictionary``: "fresh" for each block of signals,
    or one for the "cell" or all ("fixed"); ``precision``, ``seed``; ``successes``, ``trials``: counts; ``rate``: their
    quotient; ``low``, ``high``: 95 % Wilson interval of the rate, ``exact_low``, ``exact_high``: of Clopper and
    Pearson; ``interval_of``: what the intervals are about; ``dictionaries``: drawn; ``effective_trials``: independent
    trials that tell as much; ``between_sd``, ``within_sd``: standard deviation of the rate between dictionaries, and
    of its estimate within them; ``fraction``: mean share of planted atoms found; ``error``: mean relative l2 error of
    the codes; ``quarantined``: blocks that failed and are left out. What was not measured is NaN. From a ledger there
    is also ``task``, the id.

    **A recovery** (what every solver returns): one row an atom of a code, see
    :meth:`expander_theory.Recovery.to_dataframe`.

    **Evaluations of SAEs** (records, or the JSON file of ``expander sae eval --out``): one row an SAE, with the fields
    of the records. Among them ``m``, ``n``, ``d``, ``k``: width of the activations, features, nonzeros of a decoder
    column, active features; ``decoder_values``: learned values of the decoder; ``fvu``: fraction of variance
    unexplained (0 is perfect); ``relative_error``: mean of ||h - h_hat|| / ||h||; ``l0``: active features a token;
    ``dead``: features that never fire; ``ce``, ``ce_clean``, ``ce_zero``, ``ce_mean``, ``delta``: cross-entropies in
    nats a token, with the SAE, without, with zero and mean ablation, and ce - ce_clean; ``recovered_zero``,
    ``recovered_mean``: share of the loss recovered, NaN where it is undefined; ``kl``: nats a token. An interval
    ``X_interval`` becomes the columns ``X_low`` and ``X_high``.

    **Other records** (a list of mappings or dataclasses, or any other ledger): one row a record, one column a field,
    fields of fields as ``outer.inner``; NaN where a record lacks it.

    Args:
        results: one of these. A path may be that of a folder that holds one ledger.

    Raises:
        InvalidArgument: results of another kind, or none.
        InvalidFile: no such file, or one without records.
        MissingResource: pandas is not installed.
    """
    pandas = optional_module("pandas", extra="frames", what="a data frame")
    if isinstance(results, Recovery):
        return results.to_dataframe()
    if is_place(results):
        return pandas.DataFrame.from_records(_stored(results))
    if isinstance(results, Mapping):
        raise InvalidArgument("results", "a mapping", f"must be {_ALLOWED}; put one record into a list")
    return pandas.DataFrame.from_records(_rows(listed("results", results, _ALLOWED)))


def _rows(given: Sequence[Any]) -> list[dict[str, Any]]:
    if all(isinstance(item, Cell) for item in given):
        return cell_rows(given)
    return [_flat(as_row("results", item, (), _ALLOWED)) for item in given]


def _stored(path: Any) -> list[dict[str, Any]]:
    if not is_json(path):
        place = find_ledger(path)
        contents = read_contents(place)
        return ledger_rows(place, contents, "tasks" if is_sweep(contents) else "records")
    kind, value = stored_json(path)
    if kind is None:
        raise InvalidFile(path, "holds no results that a command of this project writes")
    return _rows([{"claim": i, **claim} for i, claim in enumerate(value["claims"])] if kind == "certificate" else value)


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Fields within fields by dotted names, and an interval as its two ends."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name.endswith("_interval"):
            low, high = (None, None) if value is None else value
            stem = f"{prefix}{name.removesuffix('_interval')}"
            flat |= {f"{stem}_low": low, f"{stem}_high": high}
        elif isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif is_dataclass(value):
            flat |= _flat(vars(value), f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
