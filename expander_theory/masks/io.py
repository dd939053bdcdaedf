"""Masks on disk (safetensors with a content hash; see :mod:`expander_theory.files`)."""

import os
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from expander_theory.errors import InvalidFile
from expander_theory.files import read_arrays, write_arrays
from expander_theory.masks.mask import Mask

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
        InvalidFile: missing, truncated, altered, newer than this release, or not a mask.
        InvalidArgument: the stored rows are no left-d-regular mask.
    """
    fields, arrays = read_arrays(path, KIND, VERSION)
    return mask_from(path, fields, arrays)


def mask_from(path: str | os.PathLike[str], fields: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Mask:
    """The mask of a file that holds one; :class:`InvalidFile` if it lacks a part."""
    try:
        return Mask(fields["m"], arrays["rows"], fields["recipe"])
    except KeyError as missing:
        raise InvalidFile(path, f"damaged: it holds no {missing}") from None
