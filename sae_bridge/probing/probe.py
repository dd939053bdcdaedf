"""k-sparse probes: how well a class is told from the others by a logistic regression on k features, chosen on training
texts.

Sources: Gurnee et al. 2023; SAEBench (2025), whose choice by the difference of class means and whose penalty these
have. Different are: features are scaled to unit deviation, every label is set against all others with balanced weights,
and accuracies are balanced, so that .5 is chance whatever the sizes of the classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import generator, require, require_int
from sae_bridge.probing.labelled import LabelledTexts

Floats = NDArray[np.floating[Any]]
_RESAMPLES = 1000


@dataclass(frozen=True)
class Probe:
    """Balanced accuracy on test texts, mean over the labels, with a 95 % bootstrap interval over test texts.

    Attributes:
        features: name of what was probed.
        k: features of each label's probe; None for all of them.
        accuracy, low, high: the number and its interval.
        chosen: by label, which features, the best first; empty where all are used.
    """

    features: str
    k: int | None
    accuracy: float
    low: float
    high: float
    chosen: dict[str, list[int]]


def probes(name: str, x: Floats, texts: LabelledTexts, ks: Iterable[int | None], *, seed: int = 0) -> list[Probe]:
    """Probes on one set of features.

    Args:
        name: of the features.
        x: features of the texts, (texts, features).
        texts: with their labels and which are for testing.
        ks: numbers of features, larger ones than there are left out; None for all.
        seed: of the bootstrap; the same for every set of features, so that its resamples are.

    Raises:
        InvalidArgument: features of another number of texts, a k below 1, or fewer than two labels that have texts for
            training and for testing.
    """
    count = len(texts.texts)
    require(len(x) == count, "x", f"of shape {x.shape}", f"must have a row for each of {count} texts")
    test, labels = np.asarray(texts.test), np.asarray(texts.labels)
    both = set(labels[~test]) & set(labels[test])
    few = f"with {len(both)} labels for training and testing alike"
    require(len(both) >= 2, "texts", few, "must have two such labels at least: take more documents")
    inside = np.isin(labels, sorted(both))
    x, test, labels = x[inside], test[inside], labels[inside]
    mean, scale = x[~test].mean(axis=0), x[~test].std(axis=0)
    z = (x - mean) / np.where(scale > 0, scale, 1)
    found = []
    for k in ks:
        require(k is None or require_int("ks", k) >= 1, "ks", k, "must be at least 1")
        if k is not None and k > x.shape[1]:
            continue
        hits, chosen = [], {}
        for label in sorted(both):
            own = labels == label
            best = np.arange(x.shape[1]) if k is None else _best(z[~test], own[~test], k)
            chosen[str(label)] = [] if k is None else best.tolist()
            said = _fitted(z[~test][:, best], own[~test]).predict(z[test][:, best])
            hits.append((own[test], said == own[test]))
        accuracy, low, high = _balanced(hits, labels[test], seed)
        found.append(Probe(name, k, accuracy, low, high, chosen))
    return found


def _best(z: Floats, own: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """The k features whose class means differ most."""
    apart = np.abs(z[own].mean(axis=0) - z[~own].mean(axis=0))
    return np.argsort(-apart, kind="stable")[:k]


def _fitted(z: Floats, own: NDArray[np.bool_]) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of all of m coordinates; the accuracy is what counts
        return LogisticRegression(C=1.0, max_iter=1000, class_weight="balanced").fit(z, own)


def _balanced(
    hits: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]], labels: NDArray[Any], seed: int
) -> tuple[float, float, float]:
    """Mean balanced accuracy over labels, and its percentile interval over test texts, resampled label by label."""
    own, right = (np.stack(parts) for parts in zip(*hits, strict=True))  # (labels, test texts)

    def score(weights: NDArray[np.int64]) -> float:
        ones, zeros = (right * own) @ weights, (right * ~own) @ weights
        return float((ones / (own @ weights) + zeros / (~own @ weights)).mean() / 2)

    count = own.shape[1]
    rng = generator(seed, "bootstrap of test texts")
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def resampled() -> NDArray[np.int64]:
        drawn = np.concatenate([group[rng.integers(len(group), size=len(group))] for group in groups])
        return np.bincount(drawn, minlength=count)

    draws = [score(resampled()) for _ in range(_RESAMPLES)]
    low, high = np.quantile(draws, (0.025, 0.975))
    return score(np.ones(count, np.int64)), float(low), float(high)
