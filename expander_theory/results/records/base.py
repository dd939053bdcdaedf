"""What every record has: the name of its kind and the version of its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec

Interval = tuple[float, float] | None
"""Lower and upper end; None where it is undefined."""
Outcome = Annotated[str, msgspec.Meta(pattern=r"\A[01]+\Z")]
"""One character a trial, 1 for a success."""
FractionText = Annotated[str, msgspec.Meta(pattern=r"\A-?[0-9]{1,4000}(/[1-9][0-9]{0,3999})?\Z")]
"""An exact rational number, "3/4"."""


@dataclass(frozen=True)
class Record:
    """One line of a ledger.

    A field whose default is None is left out of the line where it is None.

    Attributes:
        KIND: the name under which its lines are stored.
        VERSION: of its fields; a line of another version is not read.
    """

    KIND: ClassVar[str]
    VERSION: ClassVar[int] = 1
