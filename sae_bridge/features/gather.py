"""What each feature does on text, in two passes over a store: rates, examples, histograms, firing together.

Memory: examples of each chosen feature and, for firing together, one count for each pair of a chosen feature and any;
nothing grows with the number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from expander_theory.base import InvalidArgument, generator, require, require_int, require_seed
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation import AnySAE
from sae_bridge.features._best import Best, draws
from sae_bridge.features.firing import Piece, pieces

Integers = NDArray[np.int64]
_BINS = 32
_MOST_PAIRS = 1 << 28
"""Counts of pairs of features that are held: 1 GiB."""


@dataclass(frozen=True)
class Look:
    """How much of each feature is looked at.

    Attributes:
        split: "train" or "held_out": whose text.
        contexts: only its first so many contexts; None is all.
        window: tokens of an example; contexts are cut into windows of this length.
        top: examples of largest activation.
        quantiles: groups of equal size, by activation, that other examples are taken from.
        each: examples of each group.
        pool: windows sampled of each feature, from which groups are made.
        random: windows drawn whether it fires in them or not, which come last.
        seed: of samples.
    """

    split: str = "train"
    contexts: int | None = None
    window: int = 32
    top: int = 10
    quantiles: int = 4
    each: int = 3
    pool: int = 64
    random: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("window", "top", "quantiles", "each", "pool"):
            require(require_int(name, getattr(self, name)) >= 1, name, getattr(self, name), "must be at least 1")
        least = self.quantiles * self.each
        require(self.pool >= least, "pool", self.pool, f"must be at least quantiles times each, {least}")
        require(require_int("random", self.random) >= 0, "random", self.random, "must be at least 0")
        allowed = "must be at least 1, or None"
        require(self.contexts is None or self.contexts >= 1, "contexts", self.contexts, allowed)
        require_seed(self.seed)


@dataclass(frozen=True)
class Gathered:
    """What was seen of the chosen features, each array by their order.

    Attributes:
        features: which, (c,).
        tokens: how many counted.
        counts: firings of every feature, (n,).
        negative: firings with a negative activation, (c,).
        largest: largest |activation|, (c,).
        mean: mean |activation| where it fires, (c,).
        histogram: firings by activation, in :data:`_BINS` equal bins of ``[low, high]``, (c, bins).
        low, high: ends of the histogram, (c,).
        windows: number of each example's window, -1 for none; first ``top``, then groups from the strongest on, then
            random ones, (c, examples).
        peaks: the activation of largest size in each, (c, examples).
        acts: activations in each example, (c, examples, window).
        kept: which of its positions count, bool (c, examples, window).
        ids: token ids, -1 beyond the context, (c, examples, window).
        together: tokens on which a feature fires together with each other one, (c, n).
    """

    features: Integers
    tokens: int
    counts: Integers
    negative: Integers
    largest: NDArray[np.float32]
    mean: NDArray[np.float32]
    histogram: Integers
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    windows: Integers
    peaks: NDArray[np.float32]
    acts: NDArray[np.float32]
    kept: NDArray[np.bool_]
    ids: Integers
    together: NDArray[np.int32]


def chosen_features(n: int, features: Sequence[int] = (), sample: int | None = None, *, seed: int = 0) -> Integers:
    """Which of n features: those named, or a uniform sample, or all; ascending.

    Raises:
        InvalidArgument: a number that is no feature, or named twice; both a list and a sample; a sample below 1.
    """
    require(not (len(features) and sample is not None), "sample", sample, "goes without features that are named")
    if len(features):
        wrong = [j for j in features if not 0 <= require_int("features", j) < n]
        require(not wrong, "features", wrong, f"must be between 0 and n - 1 = {n - 1}")
        require(len(set(features)) == len(features), "features", list(features), "must be named once")
        return np.sort(np.asarray(features, np.int64))
    require(sample is None or require_int("sample", sample) >= 1, "sample", sample, "must be at least 1")
    if sample is None or sample >= n:
        return np.arange(n)
    return np.sort(generator(seed, "sample of features").choice(n, sample, replace=False)).astype(np.int64)


def gather(
    sae: AnySAE, store: ActivationStore, features: Integers, look: Look | None = None, *, progress: bool = True
) -> Gathered:
    """Look at what features do.

    Args:
        sae: in evaluation mode, of the store's width.
        store: of its activations.
        features: which, ascending.
        look: how much of each; the default one if None.

    Raises:
        InvalidArgument: so many features that their pairs do not fit into 1 GiB.
    """
    look = look or Look()
    n = sae.n
    if len(features) * n > _MOST_PAIRS:
        fits = f"must be at most {_MOST_PAIRS // n} of n = {n}: choose features, or a sample"
        raise InvalidArgument("features", f"{len(features)} of them", fits)
    first = _First(n, features, look)
    context = store.tokens(look.split).shape[1]
    for piece in pieces(sae, store, look.split, look.contexts, label="features: firings" if progress else ""):
        first.add(piece, -(-context // look.window))
    contexts = len(store.tokens(look.split))
    second = _Second(first, look, context, contexts if look.contexts is None else min(contexts, look.contexts))
    for piece in pieces(sae, store, look.split, look.contexts, label="features: examples" if progress else ""):
        second.add(piece)
    return second.found()


class _First:
    """The first pass: counts, extremes, and which windows to show."""

    def __init__(self, n: int, features: Integers, look: Look) -> None:
        self.features, self.look = features, look
        self.place = np.full(n, -1, np.int64)
        self.place[features] = np.arange(len(features))
        c = len(features)
        self.tokens, self.counts, self.negative = 0, np.zeros(n, np.int64), np.zeros(c, np.int64)
        self.sizes = np.zeros(c)
        self.low, self.high = np.zeros(c, np.float32), np.zeros(c, np.float32)
        self.together = np.zeros((c, n), np.int32)
        self.top, self.pool = Best(c, look.top), Best(c, look.pool)

    def add(self, piece: Piece, windows: int) -> None:
        """The next piece, whose contexts have so many windows each."""
        self.tokens += int(piece.kept.sum())
        self.counts += np.bincount(piece.feature, minlength=len(self.counts))
        fired = scipy.sparse.csr_array(
            (np.ones(len(piece.token), np.int32), (piece.token, piece.feature)),
            shape=(piece.tokens.size, len(self.counts)),
        )
        pairs = (fired[:, self.features].T @ fired).tocoo()
        self.together[pairs.coords] += pairs.data
        mine = self.place[piece.feature] >= 0
        feature, act, token = self.place[piece.feature[mine]], piece.act[mine], piece.token[mine]
        self.negative += np.bincount(feature[act < 0], minlength=len(self.features))
        self.sizes += np.bincount(feature, np.abs(act), minlength=len(self.features))
        np.minimum.at(self.low, feature, act)
        np.maximum.at(self.high, feature, act)
        window = _window(token, piece, self.look.window, windows)
        order = np.lexsort((np.abs(act), window, feature))  # the last of a feature's window is its largest
        feature, act, window = feature[order], act[order], window[order]
        last = np.flatnonzero(
            np.append((np.diff(feature) != 0) | (np.diff(window) != 0), True) if len(feature) else []
        ).astype(np.int64)
        feature, act, window = feature[last], act[last], window[last]
        self.top.offer(feature, np.abs(act).astype(np.float64), window, act)
        self.pool.offer(feature, draws(self.features[feature], window, self.look.seed), window, act)


class _Second:
    """The second pass: activations in the windows to show, and histograms between the extremes."""

    def __init__(self, first: _First, look: Look, context: int, contexts: int) -> None:
        self.first, self.look, self.context = first, look, context
        self.windows_each = -(-context // look.window)
        self.windows = _shown(first, look)
        if look.random:
            drawn = _random_windows(first.features, contexts * self.windows_each, look)
            self.windows = np.concatenate([self.windows, drawn], axis=1)
        c, examples = self.windows.shape
        self.acts = np.zeros((c, examples, look.window), np.float32)
        self.kept = np.zeros((c, examples, look.window), bool)
        self.ids = np.full((c, examples, look.window), -1, np.int64)
        self.histogram = np.zeros((c, _BINS), np.int64)
        valid = self.windows >= 0
        self.of_feature, self.of_example = np.nonzero(valid)
        shown = self.windows[valid]
        order = np.argsort(shown, kind="stable")
        self.of_feature, self.of_example, self.sorted_windows = (
            self.of_feature[order],
            self.of_example[order],
            shown[order],
        )
        self.last_window = int(shown.max(initial=-1)) + 1
        keys = self.of_feature * self.last_window + self.sorted_windows  # a feature may show a window twice
        self.by_key = np.argsort(keys, kind="stable")
        self.keys = keys[self.by_key]

    def add(self, piece: Piece) -> None:
        first, width = self.first, self.look.window
        mine = first.place[piece.feature] >= 0
        feature, act, token = first.place[piece.feature[mine]], piece.act[mine], piece.token[mine]
        span = np.maximum(first.high - first.low, np.finfo(np.float32).tiny)
        bins = ((act - first.low[feature]) / span[feature] * _BINS).astype(np.int64).clip(0, _BINS - 1)
        self.histogram += np.bincount(feature * _BINS + bins, minlength=self.histogram.size).reshape(-1, _BINS)
        self._text(piece)
        window, place = _window(token, piece, width, self.windows_each), token % self.context % width
        inside = window < self.last_window
        feature, act, window, place = feature[inside], act[inside], window[inside], place[inside]
        wanted = feature * self.last_window + window
        low, high = np.searchsorted(self.keys, wanted), np.searchsorted(self.keys, wanted, side="right")
        for again in range(int((high - low).max(initial=0))):
            some = low + again < high
            at = self.by_key[low[some] + again]
            self.acts[self.of_feature[at], self.of_example[at], place[some]] = act[some]

    def _text(self, piece: Piece) -> None:
        """Token ids of the examples that lie in a piece."""
        each, width = self.windows_each, self.look.window
        begin, end = piece.contexts[0] * each, (piece.contexts[-1] + 1) * each
        for at in range(*np.searchsorted(self.sorted_windows, (begin, end))):
            context, place = divmod(int(self.sorted_windows[at]), each)
            row = context - piece.contexts[0]
            part = slice(place * width, min((place + 1) * width, self.context))
            length = part.stop - part.start
            where = self.of_feature[at], self.of_example[at]
            self.ids[where][:length] = piece.tokens[row, part]
            self.kept[where][:length] = piece.kept[row, part]

    def found(self) -> Gathered:
        first, largest = self.first, np.abs(self.acts).argmax(axis=2)[..., None]
        own = first.counts[first.features]
        return Gathered(
            features=first.features,
            tokens=first.tokens,
            counts=first.counts,
            negative=first.negative,
            largest=np.maximum(first.high, -first.low),
            mean=(first.sizes / np.maximum(own, 1)).astype(np.float32),
            histogram=self.histogram,
            low=first.low,
            high=first.high,
            windows=self.windows,
            peaks=np.take_along_axis(self.acts, largest, axis=2)[..., 0],
            acts=self.acts,
            kept=self.kept,
            ids=self.ids,
            together=first.together,
        )


def _window(token: Integers, piece: Piece, width: int, each: int) -> Integers:
    """Number, in the whole split, of the window in which a token of the piece lies."""
    context = piece.tokens.shape[1]
    return (piece.contexts[0] + token // context) * each + token % context // width


def _random_windows(features: Integers, total: int, look: Look) -> Integers:
    """Different windows for each feature, -1 where there are too few, (c, random)."""
    found = np.full((len(features), look.random), -1, np.int64)
    for i, feature in enumerate(features):
        rng = generator(look.seed, f"random windows of feature {feature}")
        count = min(total, look.random)
        found[i, :count] = rng.choice(total, count, replace=False)
    return found


def _shown(first: _First, look: Look) -> Integers:
    """Windows of the examples: the strongest, then some of each group of the sample, strongest first."""
    pool, sizes = first.pool, np.abs(first.pool.values)
    valid = pool.windows >= 0
    count = valid.sum(axis=1)
    order = np.lexsort((pool.windows, np.where(valid, -sizes, np.inf)), axis=1)  # by size, missing ones last
    windows = np.take_along_axis(pool.windows, order, axis=1)
    draws_of = np.take_along_axis(pool.keys, order, axis=1)
    picked: list[Integers] = []
    for group in range(look.quantiles):
        low, high = group * count // look.quantiles, (group + 1) * count // look.quantiles
        place = np.arange(windows.shape[1])
        inside = (place >= low[:, None]) & (place < high[:, None])
        best = np.argsort(np.where(inside, -draws_of, np.inf), axis=1, kind="stable")[:, : look.each]
        picked.append(np.sort(np.where(np.take_along_axis(inside, best, axis=1), best, -1), axis=1))
    at = np.concatenate(picked, axis=1)
    known = at >= 0
    more = np.where(known, np.take_along_axis(windows, np.maximum(at, 0), axis=1), -1)
    return np.concatenate([first.top.windows, more], axis=1)
