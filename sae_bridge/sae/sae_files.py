"""The folder of a saved SAE: ``cfg.json``, for people and other programs, and the hashed weights.

The mask's supports are stored as int32 beside its recipe and hash; all are checked on reading.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import InvalidArgument, InvalidFile
from expander_theory.masks import Mask
from expander_theory.results import Hex, Size, atomic_write, read_arrays, read_json, stored_sha256, typed, write_arrays

KIND, VERSION = "expander-sae", 2
CONFIGURATION, WEIGHTS = "cfg.json", "sae_weights.safetensors"

_WEIGHTS_FIELDS = (
    *("architecture", "m", "n", "d", "k", "encoder", "activation", "selection", "pursuit_steps", "dense_columns"),
    "groups",
)


class About(TypedDict):
    """The configuration, as far as it is read."""

    version: Size
    architecture: Literal["expander", "dense", "block"]
    m: Size
    n: Size
    d: Size
    k: Size
    encoder: Literal["tied", "untied", "omp", "omp_nonnegative"]
    activation: Literal["topk", "batch_topk", "jumprelu", "gated"]
    selection: Literal["signed", "magnitude"]
    pursuit_steps: NotRequired[Size]
    dense_columns: NotRequired[Size]
    groups: NotRequired[list[Size]]
    weights_sha256: Hex
    mask_recipe: NotRequired[str]
    mask_sha256: NotRequired[Hex]
    training: dict[str, Any]


Arrays = dict[str, NDArray[Any]]


def is_sae_folder(folder: str | os.PathLike[str]) -> bool:
    """Whether a finished SAE of this project lies there: its configuration is written last."""
    return (Path(folder) / CONFIGURATION).is_file()


def write_sae(
    folder: str | os.PathLike[str],
    configuration: dict[str, Any],
    mask: Mask | None,
    arrays: Arrays,
    training: dict[str, Any],
) -> None:
    """Write both files, the configuration last.

    Raises:
        OSError: full or read-only disk; a configuration that was there stays.
    """
    of_mask = {}
    if mask is not None:
        of_mask = {"mask_recipe": mask.recipe, "mask_sha256": mask.sha256}
        arrays = {**arrays, "rows": mask.rows}
    write_arrays(Path(folder) / WEIGHTS, KIND, VERSION, configuration, arrays)
    write_configuration(folder, configuration, of_mask, training)


def write_configuration(
    folder: str | os.PathLike[str], configuration: dict[str, Any], of_mask: dict[str, str], training: dict[str, Any]
) -> None:
    """The configuration beside weights that are written, with recipe and hash of the mask, if any.

    Raises:
        OSError: as :func:`write_sae`.
    """
    folder = Path(folder)
    about: dict[str, Any] = {"kind": KIND, "version": VERSION, **configuration, **of_mask}
    about |= {"weights_sha256": stored_sha256(folder / WEIGHTS), "training": training}
    atomic_write(folder / CONFIGURATION, json.dumps(about, indent=2, allow_nan=False).encode() + b"\n")


def read_sae(folder: str | os.PathLike[str]) -> tuple[About, Mask | None, Arrays, dict[str, Any]]:
    """(configuration, mask or None, arrays without the mask's, training fields); the arrays are those of such an SAE.

    Raises:
        InvalidFile: missing, truncated, altered, newer than this release, or not an SAE; says what is wrong with it.
    """
    folder = Path(folder)
    about = _configuration(folder)
    path = folder / WEIGHTS
    stored, arrays = read_arrays(path, KIND, VERSION)
    if stored_sha256(path) != about["weights_sha256"]:
        raise InvalidFile(path, f"is not the file that {CONFIGURATION} was written with")
    changed = sorted(key for key in {*stored, *_WEIGHTS_FIELDS} if about.get(key) != stored.get(key))
    if changed:
        raise InvalidFile(folder / CONFIGURATION, f"altered: {', '.join(changed)} differ from what {WEIGHTS} holds")
    mask = None
    if about["architecture"] != "dense":
        try:
            mask = Mask(about["m"], arrays.pop("rows"), about.get("mask_recipe", ""))
        except (InvalidArgument, KeyError) as error:
            raise InvalidFile(path, f"holds no mask: {error}") from None
        if mask.sha256 != about.get("mask_sha256"):
            raise InvalidFile(path, f"altered: its mask is not the one that {CONFIGURATION} names")
    require_sae(path, about, arrays)
    return about, mask, arrays, about["training"]


def require_sae(path: Path, about: About, arrays: Arrays) -> None:
    """Raise InvalidFile unless the arrays are those of an SAE of these sizes: what is made of them is believed then."""
    if (about["architecture"] == "block") != ("dense_columns" in about):
        raise InvalidFile(path, "must say dense_columns if it is of blocks, and only then")
    if about["architecture"] == "dense" and about["d"] != about["m"]:
        raise InvalidFile(path, f"has d = {about['d']}, expected m = {about['m']} of a dense SAE")
    n, m, r = about["n"], about["m"], about.get("dense_columns", 0)
    columns = (n - r, about["d"])
    shapes: dict[str, tuple[int, ...]] = {"weight": columns, "b_enc": (n,), "b_dec": (m,), "scale": (), "threshold": ()}
    if about["encoder"] == "untied":
        shapes["encoder"] = columns
    if r:
        shapes["dense"] = (r, m)
    own = {"jumprelu": ("log_threshold",), "gated": ("r_mag", "b_mag")}.get(about["activation"], ())
    shapes |= {name: (n,) for name in own}
    if arrays.keys() != shapes.keys():
        raise InvalidFile(path, f"lacks or adds {', '.join(sorted(arrays.keys() ^ shapes.keys()))}")
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype not in (np.float32, np.float64) or array.dtype != arrays["weight"].dtype:
            found = f"{name} of {array.dtype} and shape {array.shape}"
            raise InvalidFile(path, f"holds {found}, expected shape {shape} and one floating type for all")
        if not np.isfinite(array).all():
            raise InvalidFile(path, f"holds NaN or infinity in {name}")
    for name in {"log_threshold", "r_mag"} & arrays.keys():
        with np.errstate(over="ignore"):
            factors = np.exp(arrays[name])
        if not (np.isfinite(factors).all() and (factors > 0).all()):
            raise InvalidFile(path, f"holds a {name} whose exponential is no positive number")
    if not arrays["scale"] > 0:
        raise InvalidFile(path, f"holds the scale {arrays['scale']}, which must be positive")
    if about["k"] > n:
        raise InvalidFile(path, f"has k = {about['k']}, more than its n = {n} features")


def _configuration(folder: Path) -> About:
    path = folder / CONFIGURATION
    if not path.is_file():
        raise InvalidFile(folder, f"holds no SAE ({CONFIGURATION} is missing)")
    about: dict[str, Any] = read_json(path, dict[str, Any])
    if about.get("kind") != KIND:
        hint = "; `expander sae import` reads those of SAELens and sparsify" if "d_in" in about else ""
        kind = about.get("kind")
        raise InvalidFile(path, f"is not the configuration of an SAE of this project (kind is {kind!r}){hint}")
    version = about.get("version")
    if isinstance(version, int) and version > VERSION:
        raise InvalidFile(path, f"format version {version} is newer than {VERSION}: upgrade")
    return typed(path, about, About)
