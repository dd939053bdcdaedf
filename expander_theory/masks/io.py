"""Masks on disk (safetensors with a content hash; see :mod:`expander_theory.results.files`)."""

import os
from collections.abc import Mapping
from typing import Any, TypedDict

from numpy.typing import NDArray

from expander_theory.base import InvalidArgument, InvalidFile
from expander_theory.masks.mask import Mask
from expander_theory.results import Size, read_arrays, typed, write_arrays

KIND, VERSION = "expander-mask", 1


def save_mask(mask: Mask, path: str | os.PathLike[str]) -> None:
    """Save a mask; an existing file is replaced only once the new one is complete.

    Raises:
        OSError: the disk is full or read-only.
    """
    write_arrays(path, KIND, VERSION, {"m": mask.m, "recipe": mask.recipe}, {"rows": mask.rows})


def load_mask(path: str | os.PathLike[str]) -> Mask:
    """Load a mask and check it.

    Raises:
        InvalidFile: missing, truncated, altered, newer than this release, or not a left-d-regular mask.
    """
    fields, arrays = read_arrays(path, KIND, VERSION)
    return mask_from(path, fields, arrays)


def mask_from(path: str | os.PathLike[str], fields: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Mask:
    """The mask of a file that holds one; :class:`InvalidFile` if it does not."""
    about = typed(path, fields, _Fields)
    if "rows" not in arrays:
        raise InvalidFile(path, "damaged: it holds no rows")
    try:
        return Mask(about["m"], arrays["rows"], about["recipe"])
    except InvalidArgument as error:
        raise InvalidFile(path, f"damaged: {error}") from None


class _Fields(TypedDict):
    m: Size
    recipe: str
