"""Tables of measurements, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tabulate import tabulate

from experiments.bench.driver import Measured

Column = Callable[[Measured], str]


def markdown(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    """A Markdown table of ready text."""
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def table(measured: Sequence[Measured], columns: Mapping[str, Column]) -> str:
    """A row for each contender; ``columns`` are headers and what to write below them."""
    return markdown([[write(one) for write in columns.values()] for one in measured], list(columns))


def rate(units: float) -> str:
    """A number a second."""
    return f"{units:.3g}" if units < 1000 else f"{units:,.0f}"


def name(one: Measured) -> str:
    """The contender's name."""
    return one.name


def batch(one: Measured) -> str:
    """The units of work of a call."""
    return f"{one.batch:,}"


def peak(one: Measured) -> str:
    """Peak memory in MB."""
    return f"{one.peak / 1e6:,.0f}"


def milliseconds(part: str) -> Column:
    """Of the fastest call; in brackets the interquartile range of all repeats as a share of their median."""
    return lambda one: f"{1e3 * one.least(part):,.2f}{spread(one, part)}"


def spread(one: Measured, part: str) -> str:
    """The interquartile range as a share of the median, for a table; nothing for a single repeat."""
    if len(one.seconds[part]) < 2:
        return ""
    first, median, third = one.quartiles(part)
    return f" ({100 * (third - first) / median:.0f} %)"


def per_second(part: str) -> Column:
    """Units of work a second, in the fastest call."""
    return lambda one: rate(one.batch / one.least(part))


def times(reference: Measured, part: str) -> Column:
    """How many times longer than the reference one unit of work takes, by the fastest calls."""
    unit = reference.least(part) / reference.batch
    return lambda one: f"{one.least(part) / one.batch / unit:.1f}"
