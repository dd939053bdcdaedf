"""What an SAE takes on disk, counted in three ways: values alone do not say it."""

from __future__ import annotations

import math
from typing import Any

from sae_bridge.sae.sae import SparseAutoencoder


def storage(sae: SparseAutoencoder, decoder_values: int | None = None) -> dict[str, Any]:
    """Counts and bytes of one SAE.

    - ``parameters``: decoder values, those of an untied encoder, and the biases: b_dec, and b_enc where it is trained;
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
    parameters = values + own + bias + sae.m
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
