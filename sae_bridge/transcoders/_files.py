"""The folder of a saved transcoder: ``cfg.json`` and the hashed weights, with supports as int32; checked on reading."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import InvalidArgument, InvalidFile
from expander_theory.masks import Mask
from expander_theory.results import (
    Count,
    Hex,
    Size,
    atomic_write,
    read_arrays,
    read_json,
    stored_sha256,
    typed,
    write_arrays,
)
from sae_bridge.sae import CONFIGURATION, WEIGHTS

KIND, VERSION = "expander-transcoder", 1
Arrays = dict[str, NDArray[Any]]

_WEIGHTS_FIELDS = (
    *("architecture", "m_in", "m", "n", "d", "d_in", "k", "encoder", "skip", "activation", "selection"),
    *("dense_columns", "layers"),
)
_MASKS = {"rows": "mask", "rows_in": "mask_in"}


class About(TypedDict):
    """The configuration, as far as it is read."""

    version: Size
    architecture: Literal["expander", "dense", "block"]
    m_in: Size
    m: Size
    n: Size
    d: Size
    d_in: Size
    k: Size
    encoder: Literal["dense", "mask"]
    skip: bool
    activation: Literal["topk", "batch_topk"]
    selection: Literal["signed", "magnitude"]
    dense_columns: Count
    layers: NotRequired[Size]
    weights_sha256: Hex
    mask_recipe: NotRequired[str]
    mask_in_recipe: NotRequired[str]
    training: dict[str, Any]


def write_transcoder(
    folder: str | os.PathLike[str],
    configuration: dict[str, Any],
    mask: Mask | None,
    mask_in: Mask | None,
    arrays: Arrays,
    training: dict[str, Any],
) -> None:
    """Write both files, the configuration last.

    Raises:
        OSError: full or read-only disk; a configuration that was there stays.
    """
    folder = Path(folder)
    about: dict[str, Any] = {"kind": KIND, "version": VERSION, **configuration}
    for name, one in (("mask", mask), ("mask_in", mask_in)):
        if one is not None:
            about |= {f"{name}_recipe": one.recipe, f"{name}_sha256": one.sha256}
    write_arrays(folder / WEIGHTS, KIND, VERSION, configuration, arrays)
    about |= {"weights_sha256": stored_sha256(folder / WEIGHTS), "training": training}
    atomic_write(folder / CONFIGURATION, json.dumps(about, indent=2, allow_nan=False).encode() + b"\n")


def read_transcoder(folder: str | os.PathLike[str]) -> tuple[About, dict[str, Mask], Arrays]:
    """(configuration, its masks by "mask" and "mask_in", all arrays); the arrays are those of such a transcoder.

    Raises:
        InvalidFile: missing, truncated, altered, newer than this release, or no transcoder; says what is wrong with it.
    """
    folder = Path(folder)
    about, path = _configuration(folder), folder / WEIGHTS
    stored, arrays = read_arrays(path, KIND, VERSION)
    if stored_sha256(path) != about["weights_sha256"]:
        raise InvalidFile(path, f"is not the file that {CONFIGURATION} was written with")
    changed = sorted(key for key in {*stored, *_WEIGHTS_FIELDS} if about.get(key) != stored.get(key))
    if changed:
        raise InvalidFile(folder / CONFIGURATION, f"altered: {', '.join(changed)} differ from what {WEIGHTS} holds")
    _require_consistent(folder / CONFIGURATION, about)
    _require_arrays(path, about, arrays)
    masks = {}
    for rows, name in _MASKS.items():
        if rows in arrays:
            width = about["m"] if name == "mask" else about["m_in"]
            try:
                masks[name] = Mask(width, arrays[rows], about.get(f"{name}_recipe", ""))
            except InvalidArgument as error:
                raise InvalidFile(path, f"{rows} are no mask: {error}") from None
            if masks[name].sha256 != about.get(f"{name}_sha256"):
                raise InvalidFile(path, f"altered: its {name} is not the one that {CONFIGURATION} names")
    return about, masks, arrays


def _require_consistent(path: Path, about: About) -> None:
    n, r = about["n"], about["dense_columns"]
    if about["k"] > n:
        raise InvalidFile(path, f"has k = {about['k']}, more than its n = {n} features")
    if (about["architecture"] == "block") != (r > 0) or r >= n:
        raise InvalidFile(path, f"has {r} dense columns of {n}, which does not fit {about['architecture']!r}")
    if "layers" in about:
        plain = about["architecture"] == "expander" and about["encoder"] == "dense" and not about["skip"]
        sizes = (about["n"], about["m"], about["m_in"])
        if not plain or any(size % about["layers"] for size in sizes):
            raise InvalidFile(path, f"has {about['layers']} layers, which does not fit n, m, m_in = {sizes}")
        if about["d_in"] * about["layers"] != about["m_in"]:
            raise InvalidFile(path, f"has d_in = {about['d_in']}, expected the {about['m_in']} inputs of one layer")
        return
    for side, dense in (("d", about["architecture"] == "dense"), ("d_in", about["encoder"] == "dense")):
        width = about["m"] if side == "d" else about["m_in"]
        if dense and about[side] != width:
            raise InvalidFile(path, f"has {side} = {about[side]}, expected {width} where it is dense")


def _require_arrays(path: Path, about: About, arrays: Arrays) -> None:
    """The arrays must be those of a transcoder of these sizes: what is made of them is believed from here on."""
    n, m, m_in, r = about["n"], about["m"], about["m_in"], about["dense_columns"]
    shapes: dict[str, tuple[int, ...]] = {
        **{"weight": (n - r, about["d"]), "encoder": (n, about["d_in"]), "b_enc": (n,), "b_dec": (m,)},
        **{"b_in": (m_in,), "scale": (), "scale_in": (), "threshold": ()},
        **({"dense": (r, m)} if r else {}),
        **({"skip": (m, m_in)} if about["skip"] else {}),
        **({"rows": (n - r, about["d"])} if about["architecture"] != "dense" else {}),
        **({"rows_in": (n, about["d_in"])} if about["encoder"] == "mask" else {}),
    }
    if "layers" in about:
        pieces = n * (about["layers"] + 1) // 2
        shapes |= {"weight": (pieces, about["d"]), "rows": (pieces, about["d"])}
        shapes |= {"scale_in": (m_in,), "scale_out": (m,)}
    if arrays.keys() != shapes.keys():
        raise InvalidFile(path, f"lacks or adds {', '.join(sorted(arrays.keys() ^ shapes.keys()))}")
    floating = arrays["weight"].dtype
    for name, shape in shapes.items():
        array, expected = arrays[name], np.dtype(np.int32) if name in _MASKS else floating
        if array.shape != shape or array.dtype != expected or floating not in (np.float32, np.float64):
            found = f"{name} of {array.dtype} and shape {array.shape}"
            raise InvalidFile(path, f"holds {found}, expected shape {shape} and one floating type for all values")
        if not np.isfinite(array).all():
            raise InvalidFile(path, f"holds NaN or infinity in {name}")
    for name in ("scale", "scale_in", "scale_out"):
        if name in arrays and not (arrays[name] > 0).all():
            raise InvalidFile(path, f"holds {name} = {arrays[name].min()}, which must be positive")


def _configuration(folder: Path) -> About:
    path = folder / CONFIGURATION
    if not path.is_file():
        raise InvalidFile(folder, f"holds no transcoder ({CONFIGURATION} is missing)")
    about: dict[str, Any] = read_json(path, dict[str, Any])
    if about.get("kind") != KIND:
        raise InvalidFile(
            path, f"is not the configuration of a transcoder of this project (kind {about.get('kind')!r})"
        )
    version = about.get("version")
    if isinstance(version, int) and version > VERSION:
        raise InvalidFile(path, f"format version {version} is newer than {VERSION}: upgrade")
    return typed(path, about, About)
