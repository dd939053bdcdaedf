"""Records that are each of their type, but do not go together."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from expander_theory.base import ExpanderTheoryError, InvalidFile


@contextmanager
def readable(paths: Sequence[Path], what: str) -> Iterator[None]:
    """Let records that are each of their type, but do not go together, end in an error that names their files.

    Raises:
        InvalidFile: what is done within fails on them.
    """
    try:
        yield
    except ExpanderTheoryError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, StopIteration) as error:
        names = ", ".join(map(str, paths)) or "these results"
        reason = f"{type(error).__name__}: {error}"
        raise InvalidFile(names, f"does not hold together what {what} needs ({reason})") from error
