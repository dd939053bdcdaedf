"""SAE evaluations as tables: the one place that knows how a record of ``sae_bridge.evaluation.evaluate`` is shown."""

from collections.abc import Mapping
from typing import Any


def with_interval(row: Mapping[str, Any], name: str) -> str:
    """A number of a record and its interval, "0.912 [0.901, 0.920]"; "undefined" where it is None."""
    value, bounds = row[name], row[f"{name}_interval"]
    if value is None:
        return "undefined"
    return f"{value:.3f}" if bounds is None else f"{value:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"


def table_row(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of an evaluation record that fit a table."""

    return {
        "SAE": row["name"],
        "d": row["d"],
        "decoder values": row["decoder_values"],
        "m/d": row["m"] / row["d"],
        "FVU": row["fvu"],
        "rel. error": row["relative_error"],
        "L0": row["l0"],
        "dead": f"{row['dead']}/{row['n']}",
        "dense": row["dense"],
        "CE clean": row["ce_clean"],
        "CE zero": row["ce_zero"],
        "CE mean": row["ce_mean"],
        "CE SAE": row["ce"],
        "delta CE": with_interval(row, "delta"),
        "KL": with_interval(row, "kl"),
        "recovered (zero)": with_interval(row, "recovered_zero"),
        "recovered (mean)": with_interval(row, "recovered_mean"),
    }
