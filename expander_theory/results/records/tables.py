"""Measurements as tables: the one place that says how they are shown."""

from typing import Any

from expander_theory.results.records.evaluation import Measurement


def with_interval(row: object, name: str) -> str:
    """A number of a record and its interval, "0.912 [0.901, 0.920]"; "undefined" where it is None.

    Args:
        row: has the attributes ``name`` and ``name_interval``.
        name: of the number.
    """
    value, bounds = getattr(row, name), getattr(row, f"{name}_interval")
    if value is None:
        return "undefined"
    return f"{value:.3f}" if bounds is None else f"{value:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"


def table_row(row: Measurement) -> dict[str, Any]:
    """The columns of a measurement that fit a table."""
    return {
        "SAE": row.name,
        "d": row.d,
        "decoder values": row.decoder_values,
        "m/d": row.m / row.d,
        "FVU": row.fvu,
        "rel. error": row.relative_error,
        "L0": row.l0,
        "dead": f"{row.dead}/{row.n}",
        "dense": row.dense,
        "CE clean": row.ce_clean,
        "CE zero": row.ce_zero,
        "CE mean": row.ce_mean,
        "CE SAE": row.ce,
        "delta CE": with_interval(row, "delta"),
        "KL": with_interval(row, "kl"),
        "recovered (zero)": with_interval(row, "recovered_zero"),
        "recovered (mean)": with_interval(row, "recovered_mean"),
    }
