"""Dictionaries of any kind: their files, and the same without blocks."""

from __future__ import annotations

import os

from expander_theory.base import InvalidArgument, InvalidFile
from expander_theory.dictionaries.block_dictionary import BLOCK_KIND, BLOCK_VERSION, BlockDictionary
from expander_theory.dictionaries.dictionary import DENSE_KIND, KIND, VERSION, DenseDictionary, Dictionary
from expander_theory.masks import mask_from
from expander_theory.results import read_arrays, stored_kind

AnyDictionary = Dictionary | DenseDictionary | BlockDictionary

_ARRAYS = {KIND: ("values",), DENSE_KIND: ("columns",), BLOCK_KIND: ("columns", "values")}


def without_blocks(dictionary: AnyDictionary) -> Dictionary | DenseDictionary:
    """The dictionary as it is, or a dense one in the place of blocks: for what has no loops over these."""
    return dictionary.densified() if isinstance(dictionary, BlockDictionary) else dictionary


def load_dictionary(path: str | os.PathLike[str]) -> AnyDictionary:
    """Load what ``save`` of any kind wrote, and check it.

    Raises:
        InvalidFile: missing, truncated, altered, newer than this release, or not a dictionary (NaN, a zero column).
    """
    kind = stored_kind(path)
    if kind not in _ARRAYS:
        known = f"{', '.join(map(repr, list(_ARRAYS)[:-1]))} or {BLOCK_KIND!r}"
        raise InvalidFile(path, f"holds {kind!r}, expected a dictionary ({known})")
    fields, arrays = read_arrays(path, kind, BLOCK_VERSION if kind == BLOCK_KIND else VERSION)
    for name in _ARRAYS[kind]:
        if name not in arrays:
            raise InvalidFile(path, f"damaged: it holds no {name}")
    try:
        if kind == DENSE_KIND:
            return DenseDictionary(arrays["columns"])
        masked = Dictionary(mask_from(path, fields, arrays), arrays["values"])
        return masked if kind == KIND else BlockDictionary(DenseDictionary(arrays["columns"]), masked)
    except InvalidArgument as error:
        raise InvalidFile(path, f"holds no usable dictionary: {error}") from None
