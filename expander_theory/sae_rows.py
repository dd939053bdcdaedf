"""SAE evaluations as tables: the one place that knows how a record of ``sae_bridge.evaluate`` is shown."""

from typing import Any


def table_row(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of an evaluation record that fit a table."""

    def with_interval(name: str) -> str:
        if row[name] is None:
            return "undefined"
        if row[f"{name}_interval"] is None:
            return f"{row[name]:.3f}"
        low, high = row[f"{name}_interval"]
        return f"{row[name]:.3f} [{low:.3f}, {high:.3f}]"

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
        "delta CE": with_interval("delta"),
        "KL": with_interval("kl"),
        "recovered (zero)": with_interval("recovered_zero"),
        "recovered (mean)": with_interval("recovered_mean"),
    }
