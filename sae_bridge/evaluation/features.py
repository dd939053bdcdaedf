"""What features do on held-out tokens: how often they fire, on which tokens, where their supports collide, and which
of them another SAE does not have.

Source of the measures: the code of the paper (Jaccard of firing sets and decoder cosine against a reference SAE, with a
null of random firing sets of the same size; entropy of the firing tokens; active-support collisions).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from expander_theory.base import generator, require
from sae_bridge.activations import ActivationStore
from sae_bridge.sae import SparseAutoencoder

Firings = Any
"""``scipy.sparse.csr_matrix`` of 0 and 1, (tokens, n); its type stubs know no shape."""

_TOKENS = 4096
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
JACCARD_NOVEL, COSINE_NOVEL = 0.1, 0.3
"""A feature is novel if no reference feature has so large a Jaccard similarity, or |cosine|."""
_NULL_BINS, _NULL_SETS = 20, 20


@torch.no_grad()
def firings(sae: SparseAutoencoder, store: ActivationStore, split: str = "held_out") -> Firings:
    """Which feature fires on which token that counts: bool (tokens, n)."""
    rows, columns, first = [], [], 0
    for h in store.batches(split, _TOKENS):
        acts, indices = (part.cpu().numpy() for part in sae.encode(h.to(sae.device, sae.weight.dtype)))
        token, place = np.nonzero(acts)
        rows.append(token + first)
        columns.append(indices[token, place])
        first += len(h)
    at = (np.concatenate(rows), np.concatenate(columns))
    fired: Firings = sparse.csr_matrix((np.ones(len(at[0]), np.int32), at), shape=(first, sae.n))
    fired.sum_duplicates()
    fired.data[:] = 1
    return fired


def firing_summary(sae: SparseAutoencoder, store: ActivationStore) -> dict[str, Any]:
    """Firing rates on held-out tokens: mean, share of features without one, quantiles among those that fire."""
    fired = firings(sae, store)
    counts = np.asarray(fired.sum(axis=0)).ravel()
    rates = counts / fired.shape[0]
    alive = rates[counts > 0]
    quantiles = {f"q{100 * q:g}": float(np.quantile(alive, q)) for q in _QUANTILES} if len(alive) else {}
    return {"tokens": fired.shape[0], "mean": float(rates.mean()), "silent": float((counts == 0).mean()), **quantiles}


@torch.no_grad()
def collisions(sae: SparseAutoencoder, store: ActivationStore) -> dict[str, Any]:
    """How the supports of a token's active features overlap: deficit 1 - |N(S)| / (d |S|), and edges beyond the first
    on a row, by quantiles over held-out tokens. This is loss of expansion on the sets that matter, not on the worst.

    Raises:
        InvalidArgument: a dense SAE, or one with dense columns, which meet all others on every row.
    """
    require(sae.mask is not None, "sae", "dense", "must be on a mask")
    require(sae.dense is None, "sae", "with dense columns", "must be on a mask alone")
    supports = (sae.weight != 0).cpu().numpy()
    places = sae.mask.rows if sae.mask is not None else np.zeros((0, 0), np.int32)
    deficits, duplicates = [], []
    fired = firings(sae, store)
    for token in range(fired.shape[0]):
        active = fired.indices[fired.indptr[token] : fired.indptr[token + 1]]
        if len(active):
            rows = places[active][supports[active]]
            covered = len(np.unique(rows))
            deficits.append(1 - covered / len(rows))
            duplicates.append(len(rows) - covered)
    found: dict[str, Any] = {"tokens": len(deficits)}
    for name, values in (("deficit", deficits), ("duplicates", duplicates)):
        found[f"{name}_mean"] = float(np.mean(values))
        for q, end in ((0.5, "median"), (0.95, "95"), (1.0, "largest")):
            found[f"{name}_{end}"] = float(np.quantile(values, q))
    return found


def token_entropy(fired: Firings, tokens: NDArray[np.integer]) -> NDArray[np.float64]:
    """Shannon entropy, in bits, of the token ids on which each feature fires; NaN for one that never does."""
    coo = fired.tocoo()
    _, ids = np.unique(np.asarray(tokens), return_inverse=True)
    pairs = sparse.coo_matrix((np.ones(coo.nnz), (coo.col, ids[coo.row])), shape=(fired.shape[1], int(ids.max()) + 1))
    counts = pairs.tocsr()
    total = np.asarray(counts.sum(axis=1)).ravel()
    share = counts.multiply(1 / np.maximum(total, 1)[:, None]).tocsr()
    share.data = -share.data * np.log2(share.data)
    return np.where(total > 0, np.asarray(share.sum(axis=1)).ravel(), np.nan)


def best_jaccard(fired: Firings, reference: Firings) -> NDArray[np.float64]:
    """The largest |A cap B| / |A cup B| of each feature's firing set A with a reference feature's B, (n,)."""
    both = (fired.T @ reference).tocsr()
    own, others = (np.asarray(x.sum(axis=0)).ravel() for x in (fired, reference))
    union = np.repeat(own, np.diff(both.indptr)) + others[both.indices] - both.data
    best = np.zeros(fired.shape[1])
    np.maximum.at(best, np.repeat(np.arange(fired.shape[1]), np.diff(both.indptr)), both.data / union)
    return best


def null_jaccard(fired: Firings, reference: Firings, *, seed: int) -> NDArray[np.float64]:
    """What :func:`best_jaccard` is, on average, for random firing sets of the same sizes, (n,).

    Features are put into bins of similar firing counts; each bin has random sets of its median count.
    """
    tokens, n = fired.shape
    rng = generator(seed, "firing sets of the null")
    counts = np.asarray(fired.sum(axis=0)).ravel()
    null = np.zeros(n)
    alive = np.argsort(counts, kind="stable")[int((counts == 0).sum()) :]
    for members in np.array_split(alive, min(_NULL_BINS, len(alive))) if len(alive) else ():
        size = int(np.median(counts[members]))
        rows = np.concatenate([rng.choice(tokens, size, replace=False) for _ in range(_NULL_SETS)])
        at = (rows, np.repeat(np.arange(_NULL_SETS), size))
        random = sparse.csr_matrix((np.ones(len(rows), np.int32), at), shape=(tokens, _NULL_SETS))
        null[members] = best_jaccard(random, reference).mean()
    return null


def best_cosine(sae: SparseAutoencoder, reference: SparseAutoencoder) -> NDArray[np.float64]:
    """The largest |cosine| of each decoder column with a column of the reference, (n,)."""
    ours, theirs = (s.dictionary().to_dense() for s in (sae, reference))
    best = np.zeros(sae.n)
    for start in range(0, sae.n, _TOKENS):
        best[start : start + _TOKENS] = np.abs(ours[:, start : start + _TOKENS].T @ theirs).max(axis=1)
    return best


def cosines_to(sae: SparseAutoencoder, before: SparseAutoencoder) -> NDArray[np.float64]:
    """The cosine of each decoder column with the column of the same number before a further training, (n,).

    Raises:
        InvalidArgument: another number of columns, or of entries in a column.
    """
    sizes = [(s.m, s.n) for s in (sae, before)]
    require(sizes[0] == sizes[1], "before", sizes[1], f"must have the sizes (m, n) = {sizes[0]}")
    ours, theirs = (s.dictionary().to_dense() for s in (sae, before))
    return np.einsum("ij,ij->j", ours, theirs)


def novelty(
    sae: SparseAutoencoder, reference: SparseAutoencoder, store: ActivationStore, *, seed: int = 0
) -> dict[str, Any]:
    """How many of an SAE's features a reference SAE does not have, and token entropies; only features that fire count.

    Shares of features with best Jaccard below :data:`JACCARD_NOVEL`, the same of the null, and with best |cosine| below
    :data:`COSINE_NOVEL`; medians of each; by tenth of the firing rate the observed and the null share.
    """
    fired, theirs = firings(sae, store), firings(reference, store)
    counts = np.asarray(fired.sum(axis=0)).ravel()
    alive = np.nonzero(counts)[0]
    observed, null = best_jaccard(fired, theirs)[alive], null_jaccard(fired, theirs, seed=seed)[alive]
    cosine = best_cosine(sae, reference)[alive]
    entropy = token_entropy(fired, store.tokens("held_out")[store.kept("held_out")].numpy())[alive]
    tenths = []
    for members in np.array_split(np.argsort(counts[alive], kind="stable"), min(10, len(alive))):
        rates = counts[alive][members] / fired.shape[0]
        tenths.append(
            {
                "rate": float(np.median(rates)),
                "features": len(members),
                "novel": float((observed[members] < JACCARD_NOVEL).mean()),
                "null": float((null[members] < JACCARD_NOVEL).mean()),
                "jaccard": float(observed[members].mean()),
                "null_jaccard": float(null[members].mean()),
                "entropy": float(np.median(entropy[members])),
            }
        )
    return {
        "tokens": fired.shape[0],
        "alive": len(alive),
        "jaccard_novel": float((observed < JACCARD_NOVEL).mean()),
        "null_novel": float((null < JACCARD_NOVEL).mean()),
        "jaccard_median": float(np.median(observed)),
        "null_median": float(np.median(null)),
        "cosine_novel": float((cosine < COSINE_NOVEL).mean()),
        "cosine_median": float(np.median(cosine)),
        "entropy_median": float(np.median(entropy)),
        "entropy_quartiles": [float(np.quantile(entropy, q)) for q in (0.25, 0.75)],
        "tenths": tenths,
    }
