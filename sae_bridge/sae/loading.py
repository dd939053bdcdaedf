"""Saved SAEs of every architecture: folders, packed files, and either in a repository of the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from expander_theory.base import InvalidArgument, InvalidFile
from expander_theory.masks import Mask
from expander_theory.results import typed
from sae_bridge.hub import located
from sae_bridge.packing import Packing, read_packed, write_packed
from sae_bridge.sae.autoencoder import SparseAutoencoder
from sae_bridge.sae.block_sae import BlockSAE
from sae_bridge.sae.options import Encoder, Selection
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE
from sae_bridge.sae.sae_files import VERSION, About, Arrays, read_sae, require_sae


def load_sae(folder: str | os.PathLike[str]) -> tuple[SparseAutoencoder, dict[str, Any]]:
    """An SAE, ready for evaluation, and its training fields, as :meth:`SparseAutoencoder.save` wrote them.

    Args:
        folder: of an SAE; or a file of :func:`pack_sae`; or ``hf:owner/repo[@revision][:path]`` for either in a
            repository of the Hugging Face Hub (:func:`sae_bridge.hub.located`).

    Raises:
        InvalidFile: missing, truncated, altered, newer than this release, or not an SAE.
        MissingResource: a repository that cannot be reached.
    """
    folder = located(folder)
    about, mask, arrays, fields = _read_packed(folder) if folder.is_file() else read_sae(folder)
    encoder: Encoder = "warm" if about["encoder"] == "untied" else about["encoder"]
    selection: Selection | None = about["selection"]
    if fields.get("codes") == "omp":  # of an earlier release, which said so beside the SAE and not in it
        encoder, selection = "omp", None
    how: dict[str, Any] = {"encoder": encoder, "activation": about["activation"], "selection": selection}
    how |= {"pursuit_steps": about.get("pursuit_steps", 1), "groups": about.get("groups")}
    k = about["k"]
    try:
        if mask is None:
            sae: SparseAutoencoder = TopKSAE(about["m"], about["n"], k, **how)
        elif "dense_columns" in about:
            sae = BlockSAE(mask, about["dense_columns"], k, **how)
        else:
            sae = ExpanderSAE(mask, k, **how)
    except InvalidArgument as error:  # options that do not go together
        raise InvalidFile(folder, f"damaged: {error}") from None
    stored = {name: torch.from_numpy(value) for name, value in arrays.items()}
    if any(value.dtype == torch.float64 for value in stored.values()):
        sae = sae.double()
    sae.load_state_dict({**({} if mask is None else {"rows": sae.state_dict()["rows"]}), **stored})
    return sae.eval(), fields


def pack_sae(
    sae: SparseAutoencoder, path: str | os.PathLike[str], fields: dict[str, Any], packing: Packing | None = None
) -> None:
    """Write an SAE as one small file, which :func:`load_sae` reads.

    Decoder columns are unit vectors again when they are read, except in ``float32``, which changes nothing; what is
    read is of float32. Packing what was read, in the same way, gives the same bytes.

    Args:
        fields: how it was trained, as :meth:`SparseAutoencoder.save` takes them.
        packing: default: bfloat16, and no supports where the mask's recipe draws it again.

    Raises:
        InvalidArgument: fields for which the header has no room (:data:`sae_bridge.packing.HEADER_BYTES`).
        OSError: full or read-only disk.
    """
    configuration, arrays = sae.stored()
    write_packed(path, packing or Packing(), configuration, sae.mask, arrays, fields)


def _read_packed(path: Path) -> tuple[About, Mask | None, Arrays, dict[str, Any]]:
    """What :func:`read_sae` gives of a folder, of a packed file."""
    found = read_packed(path)
    training, mask = found.training, found.mask
    given = {**found.configuration, "version": VERSION, "weights_sha256": found.sha256, "training": training}
    about = typed(path, given, About)
    sizes = None if about["architecture"] == "dense" else (about["m"], about["d"])
    if sizes != (None if mask is None else (mask.m, mask.d)):
        raise InvalidFile(path, f"damaged: a mask that does not fit a decoder that is {about['architecture']}")
    require_sae(path, about, found.arrays)
    return about, mask, found.arrays, training
