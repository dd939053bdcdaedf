"""SAELens folders that keep the mask: the format of :mod:`sae_bridge.interop.native`, read and written without SAELens.

SAELens casts every tensor to the SAE's dtype on loading, which would round row numbers. They are stored as digits of
base 256, least first, in uint8 (n, d, digits): integers up to 256 survive a cast to any of its dtypes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import InvalidArgument, InvalidFile, require
from expander_theory.masks import Mask
from sae_bridge.interop._folders import CONFIGURATION, Part, positive, write_folder
from sae_bridge.interop._metadata import fields_of_saelens, saelens_metadata
from sae_bridge.interop._raw import in_raw_units
from sae_bridge.sae import PURSUITS, Encoder, ExpanderSAE, SparseAutoencoder

ARCHITECTURE = "expander"
WEIGHTS = "sae_weights.safetensors"
DIGITS = "rows_base_256"
FREE = "free"
"""The encoder of a configuration whose encoder has values of its own."""

_UNIT = 1e-2  # columns that were cast to 16 bits are that far from unit norm


def export_native(
    sae: SparseAutoencoder,
    folder: str | os.PathLike[str],
    fields: dict[str, Any] | None = None,
    *,
    model_name: str | None = None,
) -> None:
    """Write an expander SAE as a SAELens folder of d n decoder values, for ``SAE.load_from_disk``.

    Who loads it imports :mod:`sae_bridge.interop.native` first, which registers the class. The scale is folded: codes
    are the SAE's own divided by s. A tied encoder is written out; a pursuit has no values and is named.

    Args:
        fields: training fields, as ``load_sae`` gives them, for the metadata.
        model_name: the language model's name in TransformerLens; None: as in the fields.

    Raises:
        InvalidArgument: a dense SAE, one with dense columns beside its mask, JumpReLU, Gated, or NaN values.
    """
    raw = in_raw_units(sae, pursuits=True)
    k_of = sae.activation in ("topk", "batch_topk")
    require(
        k_of, "sae.activation", repr(sae.activation), "must be 'topk' or 'batch_topk'; export it densified (saelens)"
    )
    mask = raw.mask
    whole = raw.first is None
    require(whole, "sae", type(sae).__name__, "must have no dense columns; export it densified (saelens, sparsify)")
    require(mask is not None, "sae", type(sae).__name__, "must be an ExpanderSAE; export a dense one as topk")
    assert mask is not None
    about = {
        "architecture": ARCHITECTURE,
        **{"d_in": raw.m, "d_sae": raw.n, "k": raw.k, "d": mask.d},
        **{"encoder": sae.encoding if sae.encoding in PURSUITS else FREE},
        **{"activation": sae.activation, "selection": sae.selection},
        **{"mask_recipe": mask.recipe, "mask_sha256": mask.sha256},
        **{"dtype": str(raw.weight.dtype).removeprefix("torch."), "device": "cpu"},
        **{"apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none"},
        "metadata": saelens_metadata(fields or {}, model_name) | {"codes_divided_by": raw.scale},
    }
    tensors = {
        **({} if sae.encoding in PURSUITS else {"encoder": raw.encoder}),
        "weight": raw.weight,
        "b_enc": raw.b_enc,
        "b_dec": raw.b_dec,
        "threshold": raw.b_enc.new_zeros(()) if raw.threshold is None else raw.threshold,
        DIGITS: digits_of(mask.rows, mask.m),
    }
    write_folder(Path(folder), WEIGHTS, about, tensors)


def import_native(folder: Path, about: dict[str, Any]) -> tuple[ExpanderSAE, dict[str, Any]]:
    """The SAE of such a folder, and its training fields as far as known; s is 1 and its encoder untied, or a pursuit.

    Raises:
        InvalidFile: damaged, an altered mask, or columns that are not of unit norm.
    """
    m, n, k, d = (positive(folder, about, name) for name in ("d_in", "d_sae", "k", "d"))
    part = Part(folder / WEIGHTS)
    rows = rows_of(part.take_stored(DIGITS, n, d, _digits(m)))
    mask = checked_mask(folder, m, rows.numpy(), about.get("mask_recipe"), about.get("mask_sha256"))
    encoder = about.get("encoder", FREE)
    if encoder not in (FREE, *PURSUITS):
        raise InvalidFile(folder / CONFIGURATION, f"has the encoder {encoder!r}; known: {', '.join((FREE, *PURSUITS))}")
    shapes: dict[str, tuple[int, ...]] = {"weight": (n, d), "b_enc": (n,), "b_dec": (m,)}
    if encoder == FREE:
        shapes["encoder"] = (n, d)
    tensors = {name: part.take(name, *shape) for name, shape in {**shapes, "threshold": ()}.items()}
    part.finish()
    if encoder != FREE and bool(tensors["b_enc"].any()):
        raise InvalidFile(part.path, f"holds a b_enc that is not zero, which the encoder {encoder!r} does not have")
    if not about.get("apply_b_dec_to_input", True):
        if encoder != FREE:
            raise InvalidFile(folder / CONFIGURATION, "does not apply b_dec to the input, as its pursuit has to")
        tensors["b_enc"] = tensors["b_enc"] + (tensors["encoder"] * tensors["b_dec"][rows.long()]).sum(dim=1)
    norms = torch.linalg.vector_norm(tensors["weight"].double(), dim=1)
    if float((norms - 1).abs().max()) > _UNIT:
        raise InvalidFile(folder, "holds decoder columns that are not of unit norm")
    try:
        how: Encoder = "warm" if encoder == FREE else encoder
        sae = ExpanderSAE(mask, k, encoder=how, activation=about["activation"], selection=about["selection"])
    except (InvalidArgument, KeyError) as error:
        raise InvalidFile(folder / CONFIGURATION, f"damaged: {error}") from None
    sae = sae.to(tensors["weight"].dtype)
    sae.load_state_dict({**sae.state_dict(), **tensors})
    return sae.eval(), fields_of_saelens(about.get("metadata", {}))


def digits_of(rows: np.ndarray[Any, Any], m: int) -> Tensor:
    """Integers in 0..m-1, any shape, as uint8 digits of base 256 on a new last axis, least first."""
    places = 8 * np.arange(_digits(m))
    return torch.from_numpy((rows[..., None].astype(np.int64) >> places & 255).astype(np.uint8))


def rows_of(digits: Tensor) -> Tensor:
    """The integers (int32) of digits of any dtype."""
    places = 8 * torch.arange(digits.shape[-1], device=digits.device)
    return (digits.to(torch.int64) << places).sum(dim=-1).to(torch.int32)


def checked_mask(where: object, m: int, rows: np.ndarray[Any, Any], recipe: Any, sha256: Any) -> Mask:
    """The mask, if it is the one that the hash names.

    Raises:
        InvalidFile: it is another one, or none.
    """
    try:
        mask = Mask(m, rows, str(recipe))
    except InvalidArgument as error:
        raise InvalidFile(where, f"holds no mask: {error}") from None
    if mask.sha256 != sha256:
        raise InvalidFile(where, f"altered: its mask is not the one that {CONFIGURATION} names")
    return mask


def _digits(m: int) -> int:
    return max(1, -(-(m - 1).bit_length() // 8))
