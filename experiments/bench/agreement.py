"""Whether contenders give the same answer: supports, judged by float64 OMP where they differ, and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.dictionaries import Dictionary, Floats

NEAR_TIE = 1000
"""Two moduli of correlations within this many machine epsilons times ||h|| of each other are a near-tie."""
ALWAYS_JUDGED = 8
"""Signals of ours that are always compared with float64 OMP."""
TOLERANCE = 1e-3
"""By how much of its norm a tensor may differ: float32 sums in another order."""


@dataclass(frozen=True)
class TieAwareOMP:
    """Plain float64 OMP with a QR factorisation a step, which says where rounding may decide.

    Attributes:
        transposed: W^T, float64 (n, m).
        epsilon: of the dtype that is judged.
    """

    transposed: Any
    epsilon: float

    @classmethod
    def of(cls, dictionary: Dictionary) -> TieAwareOMP:
        """A reference for solutions in the dtype of the dictionary."""
        epsilon = float(np.finfo(dictionary.dtype).eps)
        return cls(dictionary.astype(np.float64).to_scipy().T.tocsr(), epsilon)

    def support(self, h: Floats, k: int) -> tuple[NDArray[np.int64], bool]:
        """The support, increasing, and whether a near-tie was met on the way."""
        signal = h.astype(np.float64)
        tie, residual, chosen = NEAR_TIE * self.epsilon * np.linalg.norm(signal), signal, []
        near = False
        for _ in range(k):
            scores = np.abs(self.transposed @ residual)
            scores[chosen] = -1
            second, first = np.partition(scores, -2)[-2:]
            near |= bool(first - second <= tie)
            chosen.append(int(scores.argmax()))
            basis = np.linalg.qr(self.transposed[chosen].toarray().T)[0]
            residual = signal - basis @ (basis.T @ signal)
        return np.sort(np.asarray(chosen)), near


@dataclass(frozen=True)
class Agreement:
    """Supports of two solvers beside each other.

    Attributes:
        compared, equal: signals compared, and those of equal support.
        excused: unequal ones in which float64 OMP met a near-tie.
        theirs_wrong, ours_wrong: the other unequal ones, by whose support is not that of float64 OMP (ours if neither
            is).
    """

    compared: int
    equal: int
    excused: int = 0
    theirs_wrong: int = 0
    ours_wrong: int = 0

    @property
    def text(self) -> str:
        """For a cell of a table."""
        reasons = [f"{self.excused} near-ties"] if self.excused else []
        reasons += [f"{self.theirs_wrong} it errs"] if self.theirs_wrong else []
        reasons += [f"{self.ours_wrong} OURS ERRS"] if self.ours_wrong else []
        return f"{self.equal}/{self.compared}" + (f" ({', '.join(reasons)})" if reasons else "")


class Judge:
    """Compares supports found for the first signals of a batch; each signal is solved in float64 at most once."""

    def __init__(self, dictionary: Dictionary, signals: Floats, k: int) -> None:
        self._dictionary, self._signals, self._k = dictionary, signals, k
        self._reference: TieAwareOMP | None = None
        self._known: dict[int, tuple[NDArray[np.int64], bool]] = {}

    def alone(self, ours: NDArray[np.integer], count: int = ALWAYS_JUDGED) -> Agreement:
        """Ours beside float64 OMP itself, for ``count`` signals."""
        return self.between(ours, np.stack([self._verdict(b)[0] for b in range(min(count, len(ours)))]))

    def between(self, ours: NDArray[np.integer], theirs: NDArray[np.integer], same_rule: bool = True) -> Agreement:
        """Ours beside theirs, both (batch, k) in any order, as far as both go.

        Args:
            same_rule: whether they select as OMP does; where not, differences are counted and nobody is blamed.
        """
        count = min(len(ours), len(theirs))
        ours, theirs = np.sort(ours[:count], axis=1), np.sort(theirs[:count], axis=1)
        unequal = np.flatnonzero((ours != theirs).any(axis=1))
        verdicts = [(*self._verdict(int(b)), ours[b]) for b in unequal] if same_rule else []
        excused = sum(near for _, near, _ in verdicts)
        theirs_wrong = sum(not near and np.array_equal(support, mine) for support, near, mine in verdicts)
        return Agreement(count, count - unequal.size, excused, theirs_wrong, len(verdicts) - excused - theirs_wrong)

    def _verdict(self, b: int) -> tuple[NDArray[np.int64], bool]:
        if self._reference is None:
            self._reference = TieAwareOMP.of(self._dictionary)
        if b not in self._known:
            self._known[b] = self._reference.support(self._signals[b], self._k)
        return self._known[b]


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Which torch tensors differ by more than :data:`TOLERANCE` of the norm of the expected one, and by how much."""
    apart = []
    for name, tensor in expected.items():
        error = float((tensor - found[name]).norm() / tensor.norm())
        if not error < TOLERANCE:
            apart.append(f"{name} by {error:.1e} of its norm")
    return apart
