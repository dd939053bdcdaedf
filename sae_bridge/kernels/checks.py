"""What the loops take on trust, checked before they run. On CUDA a check waits for the device."""

from torch import Tensor

from expander_theory.base import InvalidArgument


def require_features(indices: Tensor, n: int) -> None:
    """Raise :class:`InvalidArgument` unless every index names one of n features: a loop would leave its arrays."""
    first = _first_outside(indices, n)
    if first is not None:
        padding = "; where -1 is padding (as in Recovery.indices, with acts 0), clamp it to 0" if first == -1 else ""
        raise InvalidArgument("indices", first, f"must lie in 0..{n - 1}, the features{padding}")


def require_rows(rows: Tensor, m: int) -> None:
    """Raise :class:`InvalidArgument` unless every entry of a mask's rows is one of m."""
    first = _first_outside(rows, m)
    if first is not None:
        raise InvalidArgument("rows", first, f"must lie in 0..{m - 1}")


def _first_outside(values: Tensor, stop: int) -> int | None:
    outside = (values < 0) | (values >= stop)
    return int(values[outside][0]) if bool(outside.any()) else None
