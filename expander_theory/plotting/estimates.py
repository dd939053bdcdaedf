"""Means over seeds with intervals, and how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from expander_theory.plotting._inputs import field


def estimate(rows: Sequence[Any], name: str) -> tuple[float, float, float]:
    """The mean over seeds of a measure, and a 95 % interval; NaN where it is undefined.

    Of one seed the interval is its own (``{name}_interval``). Of several it is the wider of the mean of those and
    Student's interval over seeds.

    Args:
        rows: one for each seed: records that have the measure as a field, or mappings.
        name: of the measure.
    """
    values = [value for row in rows if (value := field(row, name)) is not None]
    if not values:
        return math.nan, math.nan, math.nan
    mean = float(np.mean(values))
    ends = [pair for row in rows if (pair := field(row, f"{name}_interval")) is not None]
    low, high = (float(np.mean([pair[i] for pair in ends])) for i in (0, 1)) if ends else (mean, mean)
    if len(values) > 1:
        half = float(stdtrit(len(values) - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
        low, high = min(low, mean - half), max(high, mean + half)
    return mean, low, high


def bar(
    axis: Any,
    x: float,
    rows: Sequence[Any],
    name: str,
    colour: Any,
    marker: str = "o",
    **style: Any,
) -> None:
    """Draw the mean with its interval at x, and the seeds as small points; nothing where it is undefined."""
    mean, low, high = estimate(rows, name)
    if math.isnan(mean):
        return
    axis.errorbar(
        [x], [mean], yerr=[[mean - low], [high - mean]], fmt=marker, color=colour, ms=4.5, capsize=2, lw=1, **style
    )
    if len(rows) > 1:
        values = [value for row in rows if (value := field(row, name)) is not None]
        axis.plot([x] * len(values), values, ".", color=colour, ms=3, alpha=0.5, zorder=1)
