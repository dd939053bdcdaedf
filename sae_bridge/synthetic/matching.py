"""Which column of an SAE stands for which known feature: directions matched one to one, and how firing agrees.

Sources: mean correlation coefficient after the Hungarian assignment, as in the identifiability literature (Hyvarinen
and Morioka 2016) and in SynthSAEBench (2026), whose precision, recall and F1 of firing these are; absorption after
Chanin et al. (2024), here with the hierarchy known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from expander_theory.base import require

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Codes = Any
"""``scipy.sparse.csr_array`` of activations, (tokens, features); its type stubs know no shape."""

FOUND = 0.9
"""A feature is found if the column matched to it has at least this |cosine| with it."""
LOST_BY_CHILD = 0.5
"""A parent is absorbed by a child beside which its column fires at most this many times as often as alone."""
LEANS = 0.1
"""... and whose column leans towards the parent by at least so much more than the child itself."""


@dataclass(frozen=True)
class Matching:
    """The one-to-one assignment of columns to features of largest total |cosine|.

    Attributes:
        column: for each feature the column matched to it, -1 for none (there are fewer columns), (features,).
        cosine: |cosine| of the two, 0 for none, (features,).
        sign: +1 or -1, of that cosine, (features,).
    """

    column: Integers
    cosine: Floats
    sign: Floats

    @property
    def mcc(self) -> float:
        """Mean |cosine| over matched pairs."""
        matched = self.column >= 0
        return float(self.cosine[matched].mean()) if matched.any() else 0.0


def match(features: ArrayLike, columns: ArrayLike) -> Matching:
    """Match columns to features by the Hungarian algorithm on |cosine|.

    Time grows as the cube of the smaller number: seconds for thousands.

    Args:
        features: directions as rows, (n, m), none zero.
        columns: directions as rows, (c, m); a zero row has cosine 0 with all.

    Raises:
        InvalidArgument: of different widths, or empty.
    """
    features, columns = np.asarray(features, float), np.asarray(columns, float)
    fits = features.ndim == columns.ndim == 2 and features.shape[1] == columns.shape[1]
    require(fits, "columns", f"of shape {columns.shape}", f"must be rows as wide as features, {features.shape}")
    require(min(features.shape[0], columns.shape[0]) >= 1, "columns", f"of shape {columns.shape}", "must not be empty")
    cosine = _unit(features) @ _unit(columns).T
    rows, matched = linear_sum_assignment(np.abs(cosine), maximize=True)
    column = np.full(len(features), -1, np.int64)
    column[rows] = matched
    own = np.zeros(len(features))
    own[rows] = cosine[rows, matched]
    return Matching(column, np.abs(own), np.where(own < 0, -1.0, 1.0))


def pairwise_mcc(columns: ArrayLike, others: ArrayLike) -> float:
    """The mean |cosine| of the columns of two SAEs, matched one to one: how stable what they learn is."""
    return match(columns, others).mcc


@dataclass(frozen=True)
class Detection:
    """How the firing of matched columns agrees with that of the features, each of shape (features,).

    Attributes:
        precision: of the tokens on which the column fires, the share on which the feature does; 0 if it never fires.
        recall: of the tokens on which the feature fires, the share on which the column does.
        f1: their harmonic mean, 0 if both are 0.
        fires: whether the feature fires on the sample at all; the other numbers are 0 where not.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    fires: NDArray[np.bool_]

    def mean(self, name: str) -> float:
        """Mean of one of them over features that fire."""
        return float(getattr(self, name)[self.fires].mean()) if self.fires.any() else 0.0


def detection(truth: Codes, codes: Codes, matching: Matching, *, thresholds: Floats | None = None) -> Detection:
    """Precision, recall and F1 of firing, feature by feature; features without a column count as never detected.

    A column fires where its activation has the sign of its match (a feature's own activations are positive, so that a
    column of opposite direction fires by negative ones) and is more than its threshold.

    Args:
        truth: activations of the features, (tokens, features).
        codes: of the SAE, (tokens, columns).
        matching: columns of features.
        thresholds: what an activation must exceed in size, (features,); None is 0.
    """
    own = _fired(codes, matching, thresholds)
    fired = _binary(truth)
    both = np.asarray(fired.multiply(own).sum(axis=0), float).ravel()
    positives, claims = (np.asarray(x.sum(axis=0), float).ravel() for x in (fired, own))
    precision, recall = _share(both, claims), _share(both, positives)
    return Detection(precision, recall, _share(2 * both, positives + claims), positives > 0)


def f1_by_column(truth: Codes, codes: Codes, features: Floats, columns: Floats) -> float:
    """Mean F1 over columns, each against the feature of largest |cosine| with it, firing being an activation that is
    not 0; one that never fires counts as 0. The classification score of SynthSAEBench (its ``f1``).
    """
    nearest = np.abs(_unit(columns) @ _unit(features).T).argmax(axis=1)
    fired, own = _binary(truth).tocsc()[:, nearest], _binary(codes).tocsc()
    both = np.asarray(fired.multiply(own).sum(axis=0), float).ravel()
    positives, claims = (np.asarray(x.sum(axis=0), float).ravel() for x in (fired, own))
    return float(_share(2 * both, positives + claims).mean())


def best_thresholds(truth: Codes, codes: Codes, matching: Matching) -> Floats:
    """For each feature the threshold on its column of largest F1, (features,), on the sample given; 0 for none."""
    signed = _signed(codes, matching).tocsc()
    fired = _binary(truth).tocsc()
    found = np.zeros(truth.shape[1])
    for j in range(truth.shape[1]):
        part = slice(signed.indptr[j], signed.indptr[j + 1])
        values, tokens = signed.data[part], signed.indices[part]
        positives = fired.indptr[j + 1] - fired.indptr[j]
        if not len(values) or not positives:
            continue
        order = np.argsort(-values, kind="stable")
        hits = np.cumsum(np.isin(tokens[order], fired.indices[fired.indptr[j] : fired.indptr[j + 1]]))
        score = 2 * hits / (positives + np.arange(1, len(order) + 1))
        ends = np.append(np.diff(values[order]) != 0, True)  # equal activations fall together
        best = int(np.argmax(np.where(ends, score, -1)))
        found[j] = values[order][best + 1] if best + 1 < len(order) else 0.0
    return found


def split(features: Floats, columns: Floats, fires: NDArray[np.bool_], *, least: float) -> NDArray[np.bool_]:
    """Which features are split: two columns or more, of those that fire, have |cosine| of at least ``least`` with it.

    Args:
        features, columns: directions as rows.
        fires: which columns fire at all, (columns,).
        least: the |cosine|.
    """
    near = np.abs(_unit(features) @ _unit(columns[fires]).T) >= least
    return near.sum(axis=1) >= 2


def absorbed(
    truth: Codes, codes: Codes, matching: Matching, parents: Integers, features: Floats, columns: Floats
) -> tuple[int, int]:
    """How many pairs (parent, child) of a hierarchy are absorbed, and how many can be judged.

    The child's column has taken over the parent: on tokens where the child fires the parent's column fires at most
    :data:`LOST_BY_CHILD` times as often as where the parent fires without it, and the child's column leans towards the
    parent by :data:`LEANS` more than the child does. Judged are pairs with both columns, and tokens of both kinds.

    Args:
        truth, codes, matching: as in :func:`detection`.
        parents: the parent of each feature, -1 for none, (features,).
        features, columns: directions as rows.
    """
    own, fired = _fired(codes, matching, None).tocsc(), _binary(truth).tocsc()
    unit, learned = _unit(features), _unit(columns)
    lost = judged = 0
    for child in np.flatnonzero((parents >= 0) & (matching.column >= 0)):
        parent = parents[child]
        if matching.column[parent] < 0:
            continue
        of_parent, of_child, detected = (
            set(x.indices[x.indptr[j] : x.indptr[j + 1]]) for x, j in ((fired, parent), (fired, child), (own, parent))
        )
        beside, alone = of_parent & of_child, of_parent - of_child
        if not beside or not alone:
            continue
        judged += 1
        rates = len(beside & detected) / len(beside), len(alone & detected) / len(alone)
        lean = matching.sign[child] * learned[matching.column[child]] @ unit[parent] - unit[child] @ unit[parent]
        lost += rates[1] > 0 and rates[0] <= LOST_BY_CHILD * rates[1] and lean >= LEANS
    return lost, judged


def _signed(codes: Codes, matching: Matching) -> Codes:
    """Activations of the matched columns, positive where they speak for the feature, others left out."""
    import scipy.sparse

    padded: Codes = scipy.sparse.hstack(
        [codes, scipy.sparse.csr_array((codes.shape[0], 1), dtype=codes.dtype)], format="csc"
    )
    chosen = scipy.sparse.csr_array(padded[:, np.where(matching.column < 0, codes.shape[1], matching.column)])
    chosen.data = chosen.data * matching.sign[chosen.indices]
    chosen.data[chosen.data < 0] = 0
    chosen.eliminate_zeros()
    return chosen


def _fired(codes: Codes, matching: Matching, thresholds: Floats | None) -> Codes:
    chosen = _signed(codes, matching)
    if thresholds is not None:
        chosen.data[chosen.data <= thresholds[chosen.indices]] = 0
        chosen.eliminate_zeros()
    return _binary(chosen)


def _binary(codes: Codes) -> Codes:
    found = codes.copy()
    found.data = (found.data != 0).astype(np.int32)
    found.eliminate_zeros()
    return found


def _unit(rows: Floats) -> Floats:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def _share(part: Floats, whole: Floats) -> Floats:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)
