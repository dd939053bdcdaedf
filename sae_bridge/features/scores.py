"""What can be said of features without a judge: are they more than a token, and the same in both halves of the text?

Everything is measured of *units*: a feature whose codes have signs counts as two, its positive and its negative side.
Deterministic; fitted on training text, tested on held-out text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.stats import rankdata

from expander_theory.base import generator, require, require_int
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation import AnySAE
from sae_bridge.features.firing import Piece, pieces

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Counts = Any
"""``scipy.sparse.csr_array`` of counts, (token ids, units)."""
PRIOR = 4.0
"""Pseudo-firings, at a unit's own rate, that a token's rate of firing is shrunk by."""
A_TOKEN = 0.95
"""A unit that the current token predicts with this AUC is a token."""
WEIGHTS = (0.0, 0.25, 0.5, 1.0)
"""What the preceding tokens may count beside the current one, chosen for each unit on training text."""
_CHOSEN_ON = 8192
"""Positions of training text on which that is chosen, by rates from the other half of the documents."""
_BLOCK = 256
_COMPARED = 2048


@dataclass(frozen=True)
class FeatureScores:
    """Scores of the units that fire often enough, each array of shape (units,).

    Attributes:
        feature, sign: which units; sign is +1 or -1.
        rate: share of held-out tokens on which each fires.
        token_auc: how well the current token predicts, on held-out text, whether it fires: the chance that a token on
            which it fires has a larger score than one on which it does not; .5 is chance.
        window_auc: the same from the current and the preceding tokens (naive Bayes, in which the preceding ones have a
            weight of :data:`WEIGHTS`).
        entropy: of the tokens on which it fires in training text, bits.
        consistency: the chance that, by the tokens it fires on, one half of the training documents is more like its own
            other half than like another unit's; .5 is chance. NaN for units that were not among those compared.
        window: tokens of the window.
    """

    feature: Integers
    sign: Integers
    rate: Floats
    token_auc: Floats
    window_auc: Floats
    entropy: Floats
    consistency: Floats
    window: int

    def summary(self) -> dict[str, Any]:
        """Number of units, quartiles of each score over units, the share of units that are a token, and of those whose
        halves are more like each other than like any other unit's (``identified``)."""
        found: dict[str, Any] = {"units": len(self.feature)}
        for name in ("token_auc", "window_auc", "entropy", "consistency"):
            values = getattr(self, name)
            values = values[np.isfinite(values)]
            quartiles = [float(q) for q in np.quantile(values, (0.25, 0.5, 0.75))] if len(values) else None
            found[name] = quartiles
        found["tokens"] = float((self.token_auc >= A_TOKEN).mean()) if len(self.feature) else None
        compared = self.consistency[np.isfinite(self.consistency)]
        found["identified"] = float((compared == 1).mean()) if len(compared) else None
        return found


def feature_scores(
    sae: AnySAE,
    store: ActivationStore,
    *,
    window: int = 5,
    contexts: int | None = None,
    least: int = 10,
    seed: int = 0,
    progress: bool = True,
) -> FeatureScores:
    """Score the features of an SAE, or of a code that has learned nothing.

    Args:
        sae: in evaluation mode.
        store: of its activations; rates by token come from its training text, tests from its held-out text.
        window: tokens, the current one included, that predict firing.
        contexts: only the first so many contexts of the training text; None is all.
        least: firings in held-out text (and half as many in each half of the training documents) that a unit needs.
        seed: of the sample of units whose consistency is compared, where there are more than 2,048.
        progress: show a bar.

    Raises:
        InvalidArgument: a window, a least number or contexts below 1.
    """
    require(require_int("window", window) >= 1, "window", window, "must be at least 1")
    require(require_int("least", least) >= 1, "least", least, "must be at least 1")
    require(contexts is None or require_int("contexts", contexts) >= 1, "contexts", contexts, "must be at least 1")
    ids = np.unique(np.concatenate([store.tokens(split).numpy().ravel() for split in ("train", "held_out")]))
    fitted = [_Fitted(sae.n, len(ids), window) for _ in range(2)]
    chosen_on, tested = _Tested(sae.n, window), _Tested(sae.n, window)
    documents = store.documents("train")
    for piece in pieces(sae, store, "train", contexts, label="scores: training text" if progress else ""):
        tokens, half = np.searchsorted(ids, piece.tokens), documents[piece.contexts] % 2
        for which in range(2):
            fitted[which].add(piece, tokens, half == which)
        if chosen_on.count < _CHOSEN_ON:
            chosen_on.add(piece, tokens, half == 1)
    for piece in pieces(sae, store, "held_out", label="scores: held-out text" if progress else ""):
        tested.add(piece, np.searchsorted(ids, piece.tokens), np.ones(len(piece.tokens), bool))
    whole, (fires, places) = _both(*fitted), tested.found()
    held_out, halves = _columns(fires), [_columns(half.by_offset[0]) for half in fitted]
    units = np.flatnonzero((held_out >= least) & (np.minimum(*halves) >= least / 2))
    weights = _weights(*chosen_on.found(), fitted[0], units)
    token_auc, window_auc = _aucs(fires, places, whole, units, weights)
    return FeatureScores(
        feature=units // 2,
        sign=np.where(units % 2, -1, 1),
        rate=held_out[units] / max(1, fires.shape[0]),
        token_auc=token_auc,
        window_auc=window_auc,
        entropy=_entropies(whole.by_offset[0], units),
        consistency=_consistencies([half.by_offset[0] for half in fitted], units, seed),
        window=window,
    )


class _Fitted:
    """Firings by the token at each offset back in the text, of some documents."""

    def __init__(self, n: int, ids: int, window: int) -> None:
        self.shape = (ids, 2 * n)
        self.by_offset: list[Counts] = [self._counts([], []) for _ in range(window)]
        self.seen = np.zeros((window, ids))  # positions that count, by the token at each offset
        self.fired, self.positions = np.zeros(2 * n), 0

    def add(self, piece: Piece, tokens: Integers, mine: NDArray[np.bool_]) -> None:
        """The contexts of a piece that are ``mine``; tokens as places in the list of ids."""
        context = tokens.shape[1]
        own = mine[piece.token // context]
        token, unit = piece.token[own], _unit_of(piece)[own]
        kept = np.flatnonzero(piece.kept & mine[:, None])
        self.positions += len(kept)
        self.fired += np.bincount(unit, minlength=len(self.fired))
        for back in range(len(self.by_offset)):
            there = token % context >= back
            id_of = tokens.ravel()[token[there] - back]
            self.by_offset[back] = self.by_offset[back] + self._counts(id_of, unit[there])
            before = kept[kept % context >= back] - back
            self.seen[back] += np.bincount(tokens.ravel()[before], minlength=self.shape[0])

    def _counts(self, ids: Any, units: Any) -> Counts:
        at = (np.asarray(ids, np.int64), np.asarray(units, np.int64))
        return scipy.sparse.coo_array((np.ones(len(at[0]), np.int32), at), shape=self.shape).tocsr()

    def scores(self, back: int, units: Integers) -> tuple[Floats, Counts]:
        """log p(fires | token at the offset) / p(fires) as a part of the token alone, and what a unit adds to it."""
        rate = np.maximum(self.fired[units], 1) / max(1, self.positions)
        alone = np.log(PRIOR / (self.seen[back] + PRIOR))
        more = scipy.sparse.csc_array(self.by_offset[back].tocsc()[:, units], dtype=np.float64)
        prior = np.repeat(PRIOR * rate, np.diff(more.indptr))
        more.data = np.log1p(more.data / prior)
        return alone, more.tocsr()

    def predicted(self, places: Integers, units: Integers) -> tuple[Floats, Floats]:
        """What the current token says, and what the preceding ones add, (positions, units) each."""
        now, before = np.zeros((2, len(places), len(units)))
        for back in range(places.shape[1]):
            alone, more = self.scores(back, units)
            there = places[:, back] >= 0
            at = places[there, back]
            (before if back else now)[there] += alone[at][:, None] + more[at].toarray()
        return now, before


def _both(first: _Fitted, second: _Fitted) -> _Fitted:
    both = _Fitted(first.shape[1] // 2, first.shape[0], len(first.by_offset))
    both.by_offset = [a + b for a, b in zip(first.by_offset, second.by_offset, strict=True)]
    both.seen, both.fired = first.seen + second.seen, first.fired + second.fired
    both.positions = first.positions + second.positions
    return both


def _unit_of(piece: Piece) -> Integers:
    return 2 * piece.feature + (piece.act < 0)


class _Tested:
    """Firings at positions that count, and the tokens up to each."""

    def __init__(self, n: int, window: int) -> None:
        self.n, self.window, self.count = n, window, 0
        self._fires: list[Any] = []
        self._places: list[Integers] = []

    def add(self, piece: Piece, tokens: Integers, mine: NDArray[np.bool_]) -> None:
        """The contexts of a piece that are ``mine``; tokens as places in the list of ids."""
        context, kept = tokens.shape[1], np.flatnonzero(piece.kept & mine[:, None])
        row = np.full(tokens.size, -1, np.int64)
        row[kept] = np.arange(len(kept))
        own = mine[piece.token // context]
        at = (row[piece.token[own]], _unit_of(piece)[own])
        shape = (len(kept), 2 * self.n)
        self._fires.append(scipy.sparse.csr_array((np.ones(len(at[0]), np.int32), at), shape=shape))
        before = np.full((len(kept), self.window), -1, np.int64)
        for back in range(self.window):
            there = kept % context >= back
            before[there, back] = tokens.ravel()[kept[there] - back]
        self._places.append(before)
        self.count += len(kept)

    def found(self) -> tuple[Counts, Integers]:
        """(positions, units) of 0 and 1, and ids at every offset, -1 before a context's start, (positions, window)."""
        return scipy.sparse.csr_array(scipy.sparse.vstack(self._fires)), np.concatenate(self._places)


def _weights(fires: Counts, places: Integers, fitted: _Fitted, units: Integers) -> Floats:
    """The weight of the preceding tokens of largest AUC, for each unit; the least of equal ones."""
    found = np.zeros(len(units))
    for part, positive, (now, before) in _blocks(fires, places, fitted, units):
        tried = np.stack([auc(now + weight * before, positive) for weight in WEIGHTS])
        found[part] = np.asarray(WEIGHTS)[np.nan_to_num(tried).argmax(axis=0)]
    return found


def _aucs(fires: Counts, places: Integers, fitted: _Fitted, units: Integers, weights: Floats) -> tuple[Floats, Floats]:
    """AUC from the current token, and from the window, (units,) each."""
    by_token, by_window = np.zeros(len(units)), np.zeros(len(units))
    for part, positive, (now, before) in _blocks(fires, places, fitted, units):
        by_token[part] = auc(now, positive)
        by_window[part] = auc(now + weights[part] * before, positive)
    return by_token, by_window


def _blocks(
    fires: Counts, places: Integers, fitted: _Fitted, units: Integers
) -> Iterator[tuple[slice, NDArray[np.bool_], tuple[Floats, Floats]]]:
    by_unit = fires.tocsc()
    for start in range(0, len(units), _BLOCK):
        part = slice(start, start + _BLOCK)
        yield part, by_unit[:, units[part]].toarray() > 0, fitted.predicted(places, units[part])


def auc(scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """Area under the ROC curve of each column: P(a positive scores higher than a negative), ties count half.

    Args:
        scores: (tokens, columns).
        positive: the same shape.

    Returns:
        (columns,); NaN where there is no positive or no negative.
    """
    count = positive.sum(axis=0).astype(float)
    others = len(scores) - count
    ranks = (rankdata(scores, axis=0) * positive).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count * others > 0, (ranks - count * (count + 1) / 2) / (count * others), np.nan)


def _columns(counts: Counts) -> Floats:
    return np.asarray(counts.sum(axis=0), float).ravel()


def _entropies(counts: Counts, units: Integers) -> Floats:
    share = scipy.sparse.csc_array(counts.tocsc()[:, units], dtype=np.float64)
    sizes = np.repeat(np.maximum(_columns(share), 1), np.diff(share.indptr))
    share.data = share.data / sizes
    share.data = -share.data * np.log2(share.data)
    return _columns(share)


def _consistencies(halves: list[Counts], units: Integers, seed: int) -> Floats:
    """For each unit the share of others whose first half is less like its second half than its own is."""
    found = np.full(len(units), np.nan)
    if len(units) < 2:
        return found
    rng = generator(seed, "units compared")
    some = np.sort(rng.permutation(len(units))[:_COMPARED])
    first, second = (_profiles(half, units[some]) for half in halves)
    like = np.asarray((second.T @ first).toarray())
    own = like.diagonal().copy()
    ahead = (like < own[:, None]).sum(axis=1) + 0.5 * ((like == own[:, None]).sum(axis=1) - 1)
    found[some] = ahead / (len(some) - 1)
    return found


def _profiles(counts: Counts, units: Integers) -> Any:
    """Square roots of the distribution over tokens, a unit a column: their product is the Bhattacharyya coefficient."""
    share = scipy.sparse.csc_array(counts.tocsc()[:, units], dtype=np.float32)
    sizes = np.repeat(np.maximum(_columns(share), 1), np.diff(share.indptr))
    share.data = np.sqrt(share.data / sizes).astype(np.float32)
    return share
