"""SAEs with a dense decoder (:class:`TopKSAE`) and with a decoder on a mask (:class:`ExpanderSAE`); both with every
activation of :class:`SparseAutoencoder`, whatever the name of the first says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import InvalidArgument, require
from expander_theory.dictionaries import BlockDictionary, DenseDictionary, Dictionary
from expander_theory.masks import Mask
from sae_bridge.sae._initial import initial_weight
from sae_bridge.sae.autoencoder import SparseAutoencoder
from sae_bridge.sae.options import Activation, Encoder, Options, Selection


class TopKSAE(SparseAutoencoder):
    """The dense SAE: the reference.

    Args:
        m, n, k: activation width, features, sparsity.
        seed: of the initial weights (Gaussian, then unit columns).
        encoder, activation, selection, pursuit_steps, groups: see the options of :class:`SparseAutoencoder`.

    Raises:
        InvalidArgument: a size out of range.
    """

    rows = None

    def __init__(
        self,
        m: int,
        n: int,
        k: int,
        *,
        seed: int = 0,
        encoder: Encoder = "tied",
        activation: Activation = "topk",
        selection: Selection | None = None,
        pursuit_steps: int = 1,
        groups: Sequence[int] | None = None,
    ) -> None:
        require(m >= 1, "m", m, "must be at least 1")
        require(n >= 1, "n", n, "must be at least 1")
        weight = initial_weight(m, n, None, seed=seed, purpose="initial decoder")

        def start() -> Tensor:
            return initial_weight(m, n, None, seed=seed, purpose="initial encoder")

        super().__init__(weight, m, k, start, Options(encoder, activation, selection, pursuit_steps, groups))

    def dictionary(self) -> DenseDictionary:
        return DenseDictionary(self.weight.detach().cpu().double().numpy()).normalised()


class ExpanderSAE(SparseAutoencoder):
    """The SAE whose decoder columns (and encoder rows) live on a mask: d n decoder values.

    Encoding costs O(d n) a token and no m x n matrix is ever formed. Its initial values are those of the dense SAE of
    the same seed at the mask's places, then scaled to unit columns.

    Args:
        mask: supports of the n columns.
        k: sparsity.
        seed: of the initial weights.
        encoder, activation, selection, pursuit_steps, groups: see the options of :class:`SparseAutoencoder`.

    Raises:
        InvalidArgument: k out of range.
    """

    def __init__(
        self,
        mask: Mask,
        k: int,
        *,
        seed: int = 0,
        encoder: Encoder = "tied",
        activation: Activation = "topk",
        selection: Selection | None = None,
        pursuit_steps: int = 1,
        groups: Sequence[int] | None = None,
    ) -> None:
        self._start(mask, None, k, seed, Options(encoder, activation, selection, pursuit_steps, groups))

    def _start(self, mask: Mask, dense: Tensor | None, k: int, seed: int, options: Options) -> None:
        first = 0 if dense is None else len(dense)

        def values(purpose: str) -> Tensor:
            return initial_weight(mask.m, mask.n, mask.rows, seed=seed, purpose=purpose, first=first)

        def start() -> Tensor:
            return values("initial encoder")

        weight = values("initial decoder")
        super().__init__(weight, mask.m, k, start, options, dense)
        self._recipe_of = mask
        self.register_buffer("rows", torch.from_numpy(mask.rows.copy()))

    @property
    def mask(self) -> Mask:
        """The mask of ``rows``, which alone say what it is: a loaded state brings its own."""
        assert self.rows is not None
        rows = self.rows.cpu().numpy()
        if not np.array_equal(rows, self._recipe_of.rows):
            self._recipe_of = Mask(self.m, rows)
        return self._recipe_of

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        rows, errors = state_dict.get(f"{prefix}rows"), args[-1]
        if isinstance(rows, Tensor) and rows.shape == self.weight.shape:
            try:
                Mask(self.m, rows.cpu().numpy())  # the loops believe it
            except InvalidArgument as error:
                errors.append(f"rows are no mask of m = {self.m} rows: {error}")
                return
        super()._load_from_state_dict(state_dict, prefix, *args)

    def dictionary(self) -> Dictionary | BlockDictionary:
        return Dictionary(self.mask, self.weight.detach().cpu().double().numpy()).normalised()
