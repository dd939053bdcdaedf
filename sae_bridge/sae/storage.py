"""What an SAE takes on disk, counted in three ways: values alone do not say it."""

from __future__ import annotations

import math
from typing import Any

from sae_bridge.packing import UNIT, Packing, listed_bytes, redrawn, row_bytes
from sae_bridge.sae.autoencoder import SparseAutoencoder


def storage(sae: SparseAutoencoder, decoder_values: int | None = None) -> dict[str, Any]:
    """Counts and bytes of one SAE.

    - ``parameters``: decoder values, those of an untied encoder, and the biases: b_dec, and b_enc where it is trained;
      log_threshold of JumpReLU, r_mag and b_mag of Gated;
    - ``bytes_float32``: parameters as float32, supports as int32 (what this project saves);
    - ``bytes_packed``: parameters as bfloat16, supports in ceil(log2 m) bits an index: what they need when packed;
    - ``bytes_seeded``: parameters as bfloat16 and no supports: a random mask is drawn again from its seed, a designed
      one computed. For a mask that was learned (pruned) that is no option, and the number does not apply.

    Args:
        decoder_values: where they are fewer than the decoder's nonzeros (a factored decoder).
    """
    values = sae.decoder_values if decoder_values is None else decoder_values
    own = 0 if sae.encoder is None else int(sae.encoder.count_nonzero())
    bias = sae.n if sae.pursuit is None else 0
    of_features = sum(sae.n for one in (sae.log_threshold, sae.r_mag, sae.b_mag) if one is not None)
    parameters = values + own + bias + of_features + sae.m
    dense = 0 if sae.dense is None else int(sae.dense.count_nonzero())
    indices = 0 if sae.mask is None else values - dense
    bits = math.ceil(math.log2(sae.m)) if sae.m > 1 else 1
    return {
        "decoder_values": values,
        "parameters": parameters,
        "bytes_float32": 4 * (parameters + indices),
        "bytes_packed": 2 * parameters + math.ceil(indices * bits / 8),
        "bytes_seeded": 2 * parameters,
    }


def packed_storage(sae: SparseAutoencoder, packing: Packing | None = None) -> int:
    """Bytes of the arrays of one SAE in a packed file; its header of at most 4 KiB comes to that.

    For n columns of d values on a mask in b bits: n d b / 8 and, unless the mask's recipe draws it again,
    n ceil(log2 C(m, d)) / 8 for the supports (or d ceil(log2 m) a column, where that is less); m n b / 8 where they are
    dense. Rows of an untied encoder take as much again, in integers 2 bytes more each for their norms; every vector
    that is not zero 2 or 4 bytes an entry. Unlike :func:`storage` it counts stored values, be they zero or not.

    Args:
        packing: as :func:`sae_bridge.sae.pack_sae` takes it.
    """
    how, mask = packing or Packing(), sae.mask
    _, arrays = sae.stored()
    total = 0
    for name, array in arrays.items():
        if array.ndim == 2:
            total += row_bytes(how.values, array.shape, unit=name in UNIT)
        elif array.ndim == 1 and array.any():
            total += (2 if how.vectors == "bfloat16" else 4) * array.size
    if mask is not None and (how.supports == "listed" or redrawn(mask.recipe, mask.m, mask.n, mask.d) != mask):
        total += listed_bytes(mask.m, mask.n, mask.d)
    return total
