"""OMP as an encoder: codes of an SAE found by pursuit on its own decoder.

Codes are constants to autograd, and the gradient of the loss in the decoder is still exact wherever it exists. With
f(W, c) = ||W c - x||^2 and c*(W) the code that the pursuit finds, d f(W, c*(W)) / dW = f_W + f_c c*'(W), and the last
term is zero: near W the support S stays the same (it changes on a set of measure zero, where two scores are equal), and
on S the code is the minimiser of f, so that f_c = 0 in every direction in which c* can move; under c >= 0 an entry that
the constraint holds at 0 does not move (envelope theorem, Danskin 1967).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.dictionaries import AnyDictionary, BlockDictionary, DenseDictionary, Dictionary
from expander_theory.masks import Mask
from expander_theory.solvers import Prepared, omp
from sae_bridge.pursuits import TensorDictionary, torch_omp

Pursued = Literal["magnitude", "nonnegative"]


class Pursuit:
    """Finds codes of k atoms on unit columns; what it derives from them is kept as long as they stay the same.

    Args:
        selection: "magnitude" (largest |w_j^T r|, signs free) or "nonnegative" (largest w_j^T r, codes >= 0).
    """

    def __init__(self, selection: Pursued) -> None:
        self.selection: Pursued = selection
        self._known: tuple[list[NDArray[np.floating]], Mask | None, Prepared] | None = None

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        weight: Tensor,
        rows: Tensor | None,
        mask: Mask | None,
        k: int,
        dense: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Codes of signals.

        Args:
            x: (B, m); 16-bit signals are coded in float32.
            weight: unit columns, (n, d) on a mask, (n, m) dense.
            rows, mask: the supports on the device and as a mask; None where dense.
            k: atoms, 1..min(m, n).
            dense: unit columns (r, m) that go before the masked ones.

        Returns:
            acts (B, k), in the dtype of x and without gradient, and atoms (B, k) int64, in the order of selection;
            zeros are padding.
        """
        signals = x.detach() if x.dtype == torch.float64 else x.detach().float()
        parts = [part.detach().to(signals.dtype) for part in (dense, weight) if part is not None]
        if x.is_cuda or (mask is None and self.selection == "nonnegative"):  # what a dense product is fast with
            dictionary = TensorDictionary.trusted(x.shape[1], parts[-1], rows)
            if dense is not None:
                dictionary = dictionary.after(parts[0])
            found = torch_omp(dictionary, signals, k, selection=self.selection)
            return found.coefficients.to(x.dtype), found.indices.clamp_min(0)
        prepared = self._ready([part.numpy() for part in parts], mask)
        recovery = omp(prepared, signals.numpy(), k, selection=self.selection, n_jobs=-1)
        acts = torch.from_numpy(recovery.coefficients).to(x.dtype)
        return acts, torch.from_numpy(recovery.indices).clamp_min(0).long()

    def _ready(self, parts: list[NDArray[np.floating]], mask: Mask | None) -> Prepared:
        """The decoder made ready for OMP; in training it is another one each time, afterwards always the same."""
        if self._known is not None:
            values, of_mask, prepared = self._known
            same = len(values) == len(parts) and all(map(np.array_equal, values, parts))
            if of_mask is mask and prepared.dtype == parts[0].dtype and same:
                return prepared
        prepared = Prepared(_dictionary(parts, mask), parts[0].dtype)
        self._known = [part.copy() for part in parts], mask, prepared
        return prepared


def _dictionary(parts: list[NDArray[np.floating]], mask: Mask | None) -> AnyDictionary:
    if mask is None:
        return DenseDictionary(parts[0])
    masked = Dictionary(mask, parts[-1])
    return masked if len(parts) == 1 else BlockDictionary(DenseDictionary(parts[0]), masked)
