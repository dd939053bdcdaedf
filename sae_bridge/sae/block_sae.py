"""The SAE with r dense decoder columns before those on a mask."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from expander_theory.base import require, require_int
from expander_theory.dictionaries import BlockDictionary, DenseDictionary, Dictionary
from expander_theory.masks import Mask
from sae_bridge.sae import _block_ops as block_ops
from sae_bridge.sae._initial import initial_weight
from sae_bridge.sae.options import Activation, Encoder, Options, Selection
from sae_bridge.sae.sae import ExpanderSAE


class BlockSAE(ExpanderSAE):
    """An expander SAE with r dense columns more: r m + (n - r) d decoder values.

    Features 0 .. r - 1 are the dense ones (parameter ``dense`` (r, m)), features r .. n - 1 those of the mask
    (``weight`` (n - r, d), buffer ``rows``). Its initial values are those of the dense SAE of the same seed at the
    places that it has. r = 0 is :class:`ExpanderSAE`, r = n :class:`TopKSAE`.

    Args:
        mask: supports of the n - r other columns.
        dense_columns: r, at least 1.
        k: sparsity, 1..n.
        seed: of the initial weights.
        encoder: "tied", "omp" or "omp_nonnegative".
        activation, selection, pursuit_steps, groups: see the options of :class:`SparseAutoencoder`.

    Raises:
        InvalidArgument: a value out of range, or an encoder with values of its own.
    """

    dense: Tensor

    def __init__(
        self,
        mask: Mask,
        dense_columns: int,
        k: int,
        *,
        seed: int = 0,
        encoder: Encoder = "tied",
        activation: Activation = "topk",
        selection: Selection | None = None,
        pursuit_steps: int = 1,
        groups: Sequence[int] | None = None,
    ) -> None:
        r = require_int("dense_columns", dense_columns)
        require(r >= 1, "dense_columns", r, "must be at least 1: without one it is an ExpanderSAE")
        free = encoder in ("warm", "random")
        require(not free, "encoder", repr(encoder), "must be 'tied', 'omp' or 'omp_nonnegative' beside dense columns")
        dense = initial_weight(mask.m, r, None, seed=seed, purpose="initial decoder")
        self._start(mask, dense, k, seed, Options(encoder, activation, selection, pursuit_steps, groups))

    def strongest(self, x: Tensor, k: int, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        magnitude, bias = self.selection == "magnitude", self.b_enc if bias is None else bias
        return block_ops.encode(x, self.dense, self.weight, bias, self._rows, k, magnitude=magnitude)

    def scores_at(self, x: Tensor, indices: Tensor) -> Tensor:
        return block_ops.scores_at(x, indices, self.dense, self.weight, self._rows)

    def reconstruction_by(self, features: Tensor, x: Tensor, k: int) -> Tensor:
        r = len(self.dense)
        first, others = features[features < r], features[features >= r] - r
        dense, weight = self.dense.index_select(0, first), self.weight.index_select(0, others)
        (factors, bias), rows = self._of_magnitudes(features), self._rows[others]
        magnitude, parts = self.selection == "magnitude", (dense, weight)
        if factors is not None:
            scales = factors[:, None].split([len(dense), len(weight)])
            parts = (dense * scales[0], weight * scales[1])
        acts, indices = block_ops.encode(x, *parts, bias, rows, k, magnitude=magnitude)
        acts = acts if magnitude else acts.relu()
        return block_ops.decode(acts, indices, dense, weight, rows, self.m, trusted=True)

    def combine(self, acts: Tensor, indices: Tensor, *, trusted: bool = False, frozen: bool = False) -> Tensor:
        dense, weight = (part.detach() if frozen else part for part in self.decoder_parts)
        return block_ops.decode(acts, indices, dense, weight, self._rows, self.m, trusted=trusted)

    def dictionary(self) -> BlockDictionary:
        dense, weight = (part.detach().cpu().double().numpy() for part in self.decoder_parts)
        return BlockDictionary(DenseDictionary(dense), Dictionary(self.mask, weight)).normalised()

    @property
    def _rows(self) -> Tensor:
        assert self.rows is not None
        return self.rows
