"""Section C of THEORY.md, TOPK-2: no one-step affine encoder is exact."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from expander_theory.dictionaries import Floats
from expander_theory.theorems.case import Case
from expander_theory.theorems.slack import Slack, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

# ---- TOPK-2


def _two_sparse_failure(c: Case) -> Slack:
    """The code M e_i + s e_l of the proof, |G_ij| = mu: max outside - min inside of |W^T W x|, relative to M."""
    moduli = np.abs(c.G - np.diag(np.diag(c.G)))
    i, j = map(int, np.unravel_index(int(np.argmax(moduli)), moduli.shape))
    l = next(p for p in range(c.n) if p not in (i, j))
    M = 1.001 * (1 + 1 / moduli[i, j])
    x = np.zeros(c.n)
    x[i], x[l] = M, -1.0 if c.G[i, l] >= 0 else 1.0
    scores = np.abs(c.W.T @ (c.W @ x))
    return nonnegative(float(np.delete(scores, [i, l]).max() - scores[[i, l]].min()) / M)


TOPK_2A = Statement(
    "TOPK-2a",
    "If mu > 0 and n >= 3, the tied encoder with |.|-TopK_2 fails on some 2-sparse signed code, of a range just above "
    "1 + 1/mu (mu = 1: a tie).",
    _two_sparse_failure,
    {"n >= 3": lambda c: nonnegative(c.n - 3), "mu > 0": lambda c: positive(c.mu)},
    latex=r"\mu > 0,\ n \ge 3 \Rightarrow \exists x,\ \|x\|_0 = 2: \text{tied } |\cdot|\text{-TopK}_2 \text{ fails}",
    source="THEORY.md TOPK-2 and corrections",
    cost="Gram matrix / one code",
    check="the code of the proof is built and encoded",
    needs=("unit",),
    draws=Draws(),
)


@dataclass(frozen=True, eq=False)
class Encoder:
    """A dictionary W (m, n) and an affine one-step encoder h -> A h + c, A (n, m), c (n,)."""

    W: Floats
    A: Floats
    c: Floats

    def __str__(self) -> str:
        parts = (f"{name} = {np.array2string(value, precision=4)}" for name, value in vars(self).items())
        return f"m = {self.W.shape[0]}, n = {self.W.shape[1]}\n" + "\n".join(parts)


@st.composite
def encoders(draw: Any) -> Encoder:
    """Dictionaries as orthogonal complements of small integer vectors, or of small integers; encoders that fit them.

    What a one-step encoder sees is A W; its rank is what TOPK-2 is about, so the kernel of W is drawn. Encoders: W^T,
    and (D + 1 g^T) W^+ for a diagonal D and a vector g: as near as A can come to the shape that would be exact.
    """

    def integers(count: int, low: int, high: int) -> Floats:
        return np.array(draw(st.lists(st.integers(low, high), min_size=count, max_size=count)), float)

    n = draw(st.integers(2, 5))
    q = draw(st.integers(1, n - 1))
    if draw(st.booleans()):
        kernel = np.vstack([np.ones(n), integers((n - 1) * n, -2, 2).reshape(n - 1, n)])[:q]
        _, sizes, basis = np.linalg.svd(kernel)
        W = basis[int((sizes > 1e-9).sum()) :]
    else:
        W = integers((n - 1) * n, -2, 2).reshape(n - 1, n)[: n - q]
    c = np.zeros(n) if draw(st.booleans()) else integers(5, -1, 1)[:n]
    if draw(st.booleans()):
        return Encoder(W, W.T, c)
    target = np.diag(integers(5, 1, 3)[:n]) + integers(5, -2, 2)[:n]
    return Encoder(W, target @ np.linalg.pinv(W), c)


def _affine_map(e: Encoder) -> tuple[Floats, Floats]:
    """A W and c, each with largest modulus 1 (scales of the code and of its offset do not matter)."""
    M = e.A @ e.W
    return M / max(np.abs(M).max(), 1e-12), e.c / max(np.abs(e.c).max(), 1e-12)


def _rivals(n: int) -> Iterable[tuple[int, int, int]]:
    """Ordered pairs i, l and a column p outside."""
    return itertools.permutations(range(n), 3)


def one_step_margin(e: Encoder) -> float:
    """Whether signed TopK_2 of A h + c is exact on every s e_i + t e_l, s, t > 0: positive if so, else <= 0.

    c_i - c_p = alpha s + beta t + gamma is positive for all s, t > 0 iff none of the three is negative and one is not
    zero; the least of them is what the margin is about.
    """
    M, c = _affine_map(e)
    worst = math.inf
    for i, l, p in _rivals(len(c)):
        parts = (M[i, i] - M[p, i], M[i, l] - M[p, l], c[i] - c[p])
        worst = min(worst, min(parts) if min(parts) < -1e-9 else max(*parts, 0.0) if max(parts) > 1e-9 else 0.0)
    return worst


def one_step_modulus_exact(e: Encoder) -> bool:
    """Whether |.|-TopK_2 of A h + c is exact on every s e_i + t e_l, s, t != 0.

    |f| > |g| iff (f - g)(f + g) > 0; an affine function of (s, t) keeps a sign on a quadrant iff its terms agree there.
    """
    M, c = _affine_map(e)
    for i, l, p in _rivals(len(c)):
        f, g = np.array([M[i, i], M[i, l], c[i]]), np.array([M[p, i], M[p, l], c[p]])
        for quadrant in itertools.product((1.0, -1.0), repeat=2):
            turn = np.array([*quadrant, 1.0])
            if _sign_of(turn * (f - g)) * _sign_of(turn * (f + g)) != 1:
                return False
    return True


def _sign_of(terms: Floats) -> int:
    low, high = terms.min(), terms.max()
    return 1 if low >= -1e-9 and high > 1e-9 else -1 if high <= 1e-9 and low < -1e-9 else 0


def _rows_at_most(less: int) -> dict[str, Callable[[Encoder], Slack]]:
    return {f"m <= n - {less}": lambda e: nonnegative(e.W.shape[1] - less - e.W.shape[0])}


_COMPETITOR = {"n >= 3": lambda e: nonnegative(e.W.shape[1] - 3)}

TOPK_2B = Statement(
    "TOPK-2b",
    "If m <= n - 2, for every affine one-step encoder A h + c, signed TopK_2 fails (or ties) on some nonnegative "
    "2-sparse code.",
    lambda e: nonnegative(-one_step_margin(e)),
    {**_COMPETITOR, **_rows_at_most(2)},
    latex=r"m \le n-2 \Rightarrow \forall A, c\ \exists x \ge 0,\ \|x\|_0 = 2: "
    r"\mathrm{TopK}_2(AWx + c) \ne \mathrm{supp}\,x",
    source="after O'Neill, Gumran, Klindt 2024 (arXiv 2411.13117); THEORY.md TOPK-2",
    cost="none / n^3",
    check="all 2-sparse codes, by the three coefficients of each comparison",
    instances=encoders,
)
TOPK_2B = TOPK_2B.with_mutants(
    TOPK_2B.mutant("n-1", "m <= n - 1 is enough.", hypotheses={**_COMPETITOR, **_rows_at_most(1)})
)
TOPK_2C = Statement(
    "TOPK-2c",
    "If m <= n - 1 and n >= 3, for every affine one-step encoder, |.|-TopK_2 fails (or ties) on some signed 2-sparse "
    "code.",
    lambda e: nonnegative(-1 if one_step_modulus_exact(e) else 0),
    {**_COMPETITOR, **_rows_at_most(1)},
    latex=r"m < n,\ n \ge 3 \Rightarrow \forall A, c\ \exists x,\ \|x\|_0 = 2: |\cdot|\text{-TopK}_2 \text{ fails}",
    source="after O'Neill, Gumran, Klindt 2024 (arXiv 2411.13117); THEORY.md TOPK-2 and corrections",
    cost="none / n^3",
    check="all 2-sparse codes, quadrant by quadrant",
    instances=encoders,
)
TOPK_2C = TOPK_2C.with_mutants(
    TOPK_2C.mutant(
        "two columns",
        "The same for n >= 2.",
        hypotheses={"n >= 2": lambda e: nonnegative(e.W.shape[1] - 2), **_rows_at_most(1)},
    )
)

STATEMENTS = (TOPK_2A, TOPK_2B, TOPK_2C)
