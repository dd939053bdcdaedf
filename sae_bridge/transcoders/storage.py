"""What a map from inputs to outputs takes on disk and per token."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sae_bridge.transcoders.cross_layer import CrossLayerTranscoder
from sae_bridge.transcoders.foreign import AnyTranscoder, ImportedTranscoder


@dataclass(frozen=True)
class Storage:
    """Counts and bytes.

    Attributes:
        values: all that is learned or taken from data: decoder, encoder, skip and biases.
        decoder_values: those of the decoder.
        bytes_float32: values as float32, supports as int32 (what this project saves).
        bytes_packed: values as bfloat16, supports in ceil(log2 width) bits an index.
        operations: multiplications a token, of encoder, decoder and skip, at most: with thresholds a token may have
            any number of features.
    """

    values: int
    decoder_values: int
    bytes_float32: int
    bytes_packed: int
    operations: int


def plain_storage(values: int, operations: int, decoder_values: int = 0) -> Storage:
    """Of a map without supports."""
    return Storage(values, decoder_values, 4 * values, 2 * values, operations)


def transcoder_storage(one: AnyTranscoder) -> Storage:
    """Of a transcoder. An encoder on the decoder's own mask needs no supports of its own."""
    if isinstance(one, CrossLayerTranscoder):
        sizes = {"m_in": one.width_in, "m_out": one.width_out, "n": one.each, "d": one.weight.shape[1], "k": one.k}
        return cross_layer_storage(one.layers, **sizes)
    if isinstance(one, ImportedTranscoder):
        values = sum(parameter.numel() for parameter in one.parameters()) + one.threshold.numel()
        skip = 0 if one.skip is None else one.skip.numel()
        return plain_storage(values, one.encoder.numel() + one.weight.numel() + skip, one.weight.numel())
    dense = 0 if one.dense is None else one.dense.numel()
    skip = 0 if one.skip is None else one.skip.numel()
    values = one.decoder_values + one.encoder_values + skip + one.n + one.m + one.m_in
    on_mask, of_encoder = one.mask, one.mask_in
    own = of_encoder is not None and (on_mask is None or of_encoder.sha256 != on_mask.sha256)
    indices = [(0 if on_mask is None else one.weight.numel(), one.m), (one.encoder.numel() if own else 0, one.m_in)]
    bits = sum(count * max(1, math.ceil(math.log2(width))) for count, width in indices)
    columns = one.weight.shape[1] if dense == 0 else max(one.weight.shape[1], one.m)
    return Storage(
        values=values,
        decoder_values=one.decoder_values,
        bytes_float32=4 * (values + sum(count for count, _ in indices)),
        bytes_packed=2 * values + math.ceil(bits / 8),
        operations=one.encoder.numel() + one.k * columns + skip,
    )


def cross_layer_storage(layers: int, *, m_in: int, m_out: int, n: int, d: int, k: int) -> Storage:
    """Of a cross-layer transcoder, by its sizes alone: n features a layer, d values for each that a pair of layers has.

    Args:
        layers: L; there are L (L + 1) / 2 pairs.
        m_in, m_out: widths of one layer.
        n, k: features of a layer, and how many of them a token has there.
        d: nonzeros per column; m_out where it is dense, and then there are no supports.
    """
    pieces = layers * (layers + 1) // 2 * n
    decoder, indices = pieces * d, pieces * d if d < m_out else 0
    values = layers * n * m_in + decoder + layers * (n + m_out + m_in) + layers * (m_in + m_out)
    return Storage(
        values=values,
        decoder_values=decoder,
        bytes_float32=4 * (values + indices),
        bytes_packed=2 * values + math.ceil(indices * max(1, math.ceil(math.log2(m_out))) / 8),
        operations=layers * n * m_in + k * d * layers * (layers + 1) // 2,
    )
