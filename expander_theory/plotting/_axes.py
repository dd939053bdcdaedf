"""Matplotlib, imported when something is drawn, and the Axes to draw into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from expander_theory.base import InvalidArgument, optional_module

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def require_matplotlib() -> None:
    """Raise :class:`expander_theory.base.MissingResource` unless matplotlib can be imported."""
    optional_module("matplotlib", extra="plot", what="drawing")


def axes_or_new(ax: Any) -> Axes:
    """The Axes that was given, or that of a new figure of pyplot, which notebooks show.

    Raises:
        InvalidArgument: something else was given.
        MissingResource: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.axes import Axes

    if ax is None:
        from matplotlib import pyplot

        return pyplot.subplots(layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise InvalidArgument("ax", f"a {type(ax).__name__}", "must be a matplotlib Axes, or None for a new figure")
    return ax
