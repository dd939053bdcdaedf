"""The folder of a saved SAE: ``cfg.json``, for people and other programs, and the hashed weights.

The mask's supports are stored as int32 beside its recipe and hash; all are checked on reading.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from expander_theory.errors import InvalidArgument, InvalidFile
from expander_theory.files import atomic_write, read_arrays, stored_sha256, write_arrays
from expander_theory.masks import Mask

KIND, VERSION = "expander-sae", 2
CONFIGURATION, WEIGHTS = "cfg.json", "sae_weights.safetensors"
_FIELDS = {"architecture": str, "m": int, "n": int, "d": int, "k": int, "encoder": str, "activation": str}

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
    folder = Path(folder)
    about: dict[str, Any] = {"kind": KIND, "version": VERSION, **configuration}
    if mask is not None:
        about |= {"mask_recipe": mask.recipe, "mask_sha256": mask.sha256}
        arrays = {**arrays, "rows": mask.rows}
    write_arrays(folder / WEIGHTS, KIND, VERSION, configuration, arrays)
    about |= {"weights_sha256": stored_sha256(folder / WEIGHTS), "training": training}
    atomic_write(folder / CONFIGURATION, json.dumps(about, indent=2, allow_nan=False).encode() + b"\n")


def read_sae(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], Mask | None, Arrays, dict[str, Any]]:
    """(configuration, mask or None, arrays without the mask's, training fields).

    Raises:
        InvalidFile: missing, truncated, altered, newer than this release, or not an SAE.
    """
    folder = Path(folder)
    about = _configuration(folder)
    path = folder / WEIGHTS
    stored, arrays = read_arrays(path, KIND, VERSION)
    if stored_sha256(path) != about["weights_sha256"]:
        raise InvalidFile(path, f"is not the file that {CONFIGURATION} was written with")
    changed = sorted(key for key, value in stored.items() if about.get(key) != value)
    if changed:
        raise InvalidFile(folder / CONFIGURATION, f"altered: {', '.join(changed)} differ from what {WEIGHTS} holds")
    shape = (about["n"], about["d"])
    if arrays["weight"].shape != shape:
        raise InvalidFile(path, f"holds weights of shape {arrays['weight'].shape}, expected {shape}")
    mask = None
    if about["architecture"] == "expander":
        try:
            mask = Mask(about["m"], arrays.pop("rows"), about.get("mask_recipe", ""))
        except (InvalidArgument, KeyError) as error:
            raise InvalidFile(path, f"holds no mask: {error}") from None
        if mask.sha256 != about.get("mask_sha256"):
            raise InvalidFile(path, f"altered: its mask is not the one that {CONFIGURATION} names")
    elif about["architecture"] != "dense":
        raise InvalidFile(folder / CONFIGURATION, f"unknown architecture {about['architecture']!r}")
    return about, mask, arrays, about["training"]


def _configuration(folder: Path) -> dict[str, Any]:
    path = folder / CONFIGURATION
    if not path.is_file():
        raise InvalidFile(folder, f"holds no SAE ({CONFIGURATION} is missing)")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        kind = about.get("kind")
    except (ValueError, AttributeError) as error:
        raise InvalidFile(path, f"damaged: {error}") from None
    if kind != KIND:
        hint = "; `expander sae import` reads those of SAELens and sparsify" if "d_in" in about else ""
        raise InvalidFile(path, f"is not the configuration of an SAE of this project (kind is {kind!r}){hint}")
    if not isinstance(about.get("version"), int) or about["version"] > VERSION:
        raise InvalidFile(path, f"format version {about.get('version')!r} is newer than {VERSION}: upgrade")
    wrong = [name for name, type_ in _FIELDS.items() if not isinstance(about.get(name), type_)]
    wrong += [name for name in ("selection", "weights_sha256", "training") if name not in about]
    if wrong:
        raise InvalidFile(path, f"damaged: it lacks {', '.join(wrong)}")
    return about
