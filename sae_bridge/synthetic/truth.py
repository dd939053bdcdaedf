"""One SAE against the known features of its activations: reconstruction beside what it found of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse
import torch

from expander_theory.base import require
from sae_bridge.sae import SparseAutoencoder
from sae_bridge.synthetic.matching import (
    FOUND,
    Codes,
    Floats,
    absorbed,
    best_thresholds,
    detection,
    f1_by_column,
    match,
    split,
)
from sae_bridge.synthetic.planted import PlantedFeatures

_PIECE = 1024
_SPLIT = 0.5
"""Two columns of at least this |cosine| with a feature, both of which fire, split it."""


@dataclass(frozen=True)
class Sample:
    """Held-out activations with the features in them: what SAEs are measured on.

    Attributes:
        h: float32 (tokens, m).
        truth: csr (tokens, features).
    """

    h: torch.Tensor
    truth: Codes

    @classmethod
    def drawn(cls, features: PlantedFeatures, tokens: int, key: Literal["held out", "thresholds"]) -> Sample:
        """A sample of a stream that no training batch is from; thresholds have one of their own."""
        require(tokens >= 1, "tokens", tokens, "must be at least 1")
        parts = [features.draw(min(_PIECE, tokens - start), key, start // _PIECE) for start in range(0, tokens, _PIECE)]
        h = torch.from_numpy(np.concatenate([part[0] for part in parts]))
        return cls(h, scipy.sparse.csr_array(scipy.sparse.vstack([part[1] for part in parts])))


@torch.no_grad()
def codes_of(sae: SparseAutoencoder, h: torch.Tensor) -> tuple[Codes, torch.Tensor]:
    """Codes of activations as a csr array (tokens, n), and reconstructions (tokens, m)."""
    parts, found = [], []
    for piece in h.split(_PIECE):
        acts, indices = sae.encode(piece.to(sae.device, sae.weight.dtype))
        found.append(sae.decode(acts, indices, trusted=True).cpu())
        size, width = acts.shape
        ends = np.arange(0, size * width + 1, width)
        flat = acts.float().cpu().numpy().ravel(), indices.cpu().numpy().ravel(), ends
        part = scipy.sparse.csr_array(flat, shape=(size, sae.n))
        part.sum_duplicates()
        part.eliminate_zeros()
        parts.append(part)
    return scipy.sparse.csr_array(scipy.sparse.vstack(parts)), torch.cat(found)


def truth_measures(
    sae: SparseAutoencoder, features: PlantedFeatures, held_out: Sample, for_thresholds: Sample
) -> dict[str, Any]:
    """What an SAE found of the known features; the fields of :class:`expander_theory.results.TruthRecord`.

    ``fvu``, ``l0``; ``alive``, the share of columns that fire; ``mcc``; ``found``, the share of features with a
    matched column of |cosine| >= :data:`sae_bridge.synthetic.FOUND`; ``precision``, ``recall``, ``f1`` of firing, means
    over features; ``f1_thresholded`` with the best threshold of each column, from a sample of its own; ``f1_by_column``
    as SynthSAEBench has it; ``split``, share of features; ``absorbed``, share of pairs of parent and child that can be
    judged, None where there are none.

    Args:
        sae: in evaluation mode, of the activations' width.
        features: what the activations are made of.
        held_out: what it is measured on.
        for_thresholds: another sample, on which thresholds are chosen.
    """
    codes, found = codes_of(sae, held_out.h)
    columns: Floats = sae.dictionary().to_dense().T.astype(np.float64)
    directions = features.directions
    matching = match(directions, columns)
    fires = np.asarray((codes != 0).sum(axis=0)).ravel() > 0
    plain = detection(held_out.truth, codes, matching)
    thresholds = best_thresholds(for_thresholds.truth, codes_of(sae, for_thresholds.h)[0], matching)
    cured = detection(held_out.truth, codes, matching, thresholds=thresholds)
    lost, judged = absorbed(held_out.truth, codes, matching, features.kin.parents, directions, columns)
    h = held_out.h.double()
    error = float((found.double() - h).square().sum() / (h - h.mean(dim=0)).square().sum())
    return {
        "fvu": error,
        "l0": codes.nnz / codes.shape[0],
        "true_l0": held_out.truth.nnz / codes.shape[0],
        "alive": float(fires.mean()),
        "mcc": matching.mcc,
        "found": float((matching.cosine >= FOUND).mean()),
        **{name: plain.mean(name) for name in ("precision", "recall", "f1")},
        "f1_thresholded": cured.mean("f1"),
        "f1_by_column": f1_by_column(held_out.truth, codes, directions, columns),
        "split": float(split(directions, columns, fires, least=_SPLIT).mean()),
        "absorbed": lost / judged if judged else None,
        "judged": judged,
    }
