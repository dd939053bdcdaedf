"""Small files for SAEs: masks from recipes or in the bits of their ranks, values in 32 to 2 bits. Without torch."""

from sae_bridge.packing.packed_files import (
    HEADER_BYTES,
    PACKED_KIND,
    UNIT,
    Packing,
    Supports,
    Unpacked,
    Vectors,
    is_packed,
    read_packed,
    write_packed,
)
from sae_bridge.packing.recipes import redrawn
from sae_bridge.packing.supports import listed_bytes, listed_supports, pack_supports, unpack_supports
from sae_bridge.packing.values import VALUES, Values, pack_rows, row_bytes, unpack_rows

__all__ = [
    "HEADER_BYTES",
    "PACKED_KIND",
    "UNIT",
    "VALUES",
    "Packing",
    "Supports",
    "Unpacked",
    "Values",
    "Vectors",
    "is_packed",
    "listed_bytes",
    "listed_supports",
    "pack_rows",
    "pack_supports",
    "read_packed",
    "redrawn",
    "row_bytes",
    "unpack_rows",
    "unpack_supports",
    "write_packed",
]
