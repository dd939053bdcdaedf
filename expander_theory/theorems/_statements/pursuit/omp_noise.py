"""Section C of THEORY.md: OMP in bounded noise, and by restricted isometry."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from expander_theory.theorems._statements.pursuit.margins import erc_of, gram_rows, outside, pursuit_margin
from expander_theory.theorems._statements.pursuit.omp import ALL_SETS, ERC, ORDERS, SETS, erc_below_one
from expander_theory.theorems.case import Case
from expander_theory.theorems.quantities import SINGULAR, rip
from expander_theory.theorems.slack import Slack, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

# ---- OMP-6


def _noise_norm(c: Case) -> float:
    return 0.0 if c.noise is None else float(np.linalg.norm(c.noise))


def _loud_enough(factor: float = 2.0, gap: bool = True) -> Callable[[Case], Slack]:
    """min|x| > factor ||e||/((1 - ERC) lambda_min), relative to min|x|."""

    def hypothesis(c: Case) -> Slack:
        M = erc_of(c)
        lam = float(np.linalg.eigvalsh(gram_rows(c, c.support)[:, list(c.support)])[0])
        if M >= 1 or lam <= SINGULAR:
            return positive(-1.0)
        return positive(1 - factor * _noise_norm(c) / ((1 - M if gap else 1.0) * lam * c.x_min))

    return hypothesis


def _loud_for_coherence(c: Case) -> Slack:
    gap = 1 - (2 * len(c.support) - 1) * c.mu
    return positive(1 - 2 * _noise_norm(c) / (gap * c.x_min) if gap > 0 else -1.0)


def _recovers_in_noise(c: Case) -> Slack:
    b, clean = _noise_norm(c), c.W @ c.x
    tried = [np.zeros(c.m) if c.noise is None else c.noise]
    if b > 0:  # towards each column outside, and away from the best one inside
        correlation = c.W.T @ clean
        best = max(c.support, key=lambda i: abs(correlation[i]))
        for j, sign in itertools.product(outside(c, c.support)[:8], (1.0, -1.0)):
            towards = sign * c.W[:, j]
            tried += [towards, towards - np.copysign(1.0, correlation[best]) * c.W[:, best]]
    sized = [e * (b / max(float(np.linalg.norm(e)), 1e-300)) for e in tried if np.linalg.norm(e) > 1e-9 or b == 0]
    return positive(min(pursuit_margin(c.W, clean + e, c.support, noise=b) for e in sized))


OMP_6 = Statement(
    "OMP-6",
    "y = W x + e with ||e||_2 <= b, M = ERC(S) < 1 and lambda the least eigenvalue of W_S^T W_S: if "
    "min|x_i| > 2b/((1-M) lambda), OMP stopped at ||r||_2 <= b selects exactly S.",
    _recovers_in_noise,
    {**ERC, "min|x| > 2b/((1-M) lambda)": _loud_enough()},
    latex=r"\min_{i \in S}|x_i| > \frac{2b}{(1 - \mathrm{ERC}(S))\,\lambda_{\min}(G_S)} "
    r"\Rightarrow \text{OMP finds } S",
    source="Cai, Wang 2011; Donoho, Elad, Temlyakov 2006; THEORY.md OMP-6",
    cost="k^3 + k^2 n / k steps per error",
    check=ORDERS + "with b = ||e||, for e as drawn and towards every column outside, away from the best inside",
    needs=("unit",),
    draws=Draws(max_m=6, max_n=5, code="k", noise=True, max_k=3),
    floor=0.2,
)
OMP_6 = OMP_6.with_mutants(
    OMP_6.mutant(
        "factor 1", "min|x_i| > b/((1-M) lambda) suffices.",
        hypotheses={**ERC, "min|x| > b/((1-M) lambda)": _loud_enough(factor=1.0)},
    ),
    OMP_6.mutant(
        "no 1-M", "min|x_i| > 2b/lambda suffices.",
        hypotheses={**ERC, "min|x| > 2b/lambda": _loud_enough(gap=False)},
    ),
)  # fmt: skip
OMP_6M = Statement(
    "OMP-6mu",
    "With mu < 1/(2k-1), min|x_i| > 2b/(1 - (2k-1) mu) suffices for OMP-6 (k = |supp x|).",
    _recovers_in_noise,
    {
        "mu < 1/(2k-1)": lambda c: positive(1 - (2 * len(c.support) - 1) * c.mu),
        "min|x| > 2b/(1 - (2k-1) mu)": _loud_for_coherence,
    },
    latex=r"\min_{i \in S}|x_i| > \frac{2b}{1 - (2k-1)\mu} \Rightarrow \text{OMP finds } S",
    source="Donoho, Elad, Temlyakov 2006; Cai, Wang 2011",
    cost="Gram matrix / k steps per error",
    check=OMP_6.check,
    needs=("unit",),
    draws=OMP_6.draws,
    floor=0.2,
)


# ---- OMP-7, OMP-7u


def scaled_rip(c: Case, size: int) -> float:
    """The least delta_size of a multiple of W: (l_max - l_min)/(l_max + l_min) of W_S^T W_S over |S| = size."""
    sets = c.sets(size)
    spectra = np.linalg.eigvalsh(c.G[sets[:, :, None], sets[:, None, :]])
    low, high = float(spectra.min()), float(spectra.max())
    return (high - low) / (high + low)


def unit_rip_bound(k: int) -> float:
    """c_k of OMP-7u: 1/sqrt k from k = 4 on, 4/(k+4) up to 4."""
    return 1 / math.sqrt(k) if k >= 4 else 4 / (k + 4)


def _rip_below(
    bound: Callable[[int], float], more: int = 1, strict: bool = True, constant: Callable[[Case, int], float] = rip
) -> Callable[[Case], Slack]:
    """delta_{k+more} < bound(k)."""
    return lambda c: (positive if strict else nonnegative)(bound(c.k) - constant(c, c.k + more))


OMP_7 = Statement(
    "OMP-7",
    "If delta_{k+1} < 1/sqrt(k+1) for W or a multiple of it, OMP recovers every k-sparse code in k steps, for columns "
    "of any norm.",
    erc_below_one,
    {"delta_k+1 < 1/sqrt(k+1)": _rip_below(lambda k: 1 / math.sqrt(k + 1), constant=scaled_rip)},
    latex=r"\delta_{k+1} < \frac{1}{\sqrt{k+1}} \Rightarrow \text{OMP is exact}",
    source="Mo 2015; two-line proof in THEORY.md OMP-7",
    cost="C(n, k+1) eigenvalues / C(n, k)",
    check=ALL_SETS + "; the columns as given, at the multiple of W with the least delta",
    draws=SETS,
    floor=0.2,
)
OMP_7 = OMP_7.with_mutants(
    OMP_7.mutant(
        "k for k+1",
        "delta_{k+1} < 1/sqrt k suffices for columns of any norm.",
        hypotheses={"delta_k+1 < 1/sqrt k": _rip_below(lambda k: 1 / math.sqrt(k), constant=scaled_rip)},
    )
)
OMP_7U = Statement(
    "OMP-7u",
    "For unit columns delta_{k+1} < c_k suffices, c_k = 1/sqrt k for k >= 4 and 4/(k+4) for k <= 4.",
    erc_below_one,
    {"delta_k+1 < c_k": _rip_below(unit_rip_bound)},
    latex=r"\delta_{k+1} < c_k,\quad c_k = k^{-1/2}\ (k \ge 4),\ \tfrac{4}{k+4}\ (k \le 4)",
    source="THEORY.md OMP-7u; sharp for k >= 4",
    cost="C(n, k+1) eigenvalues / C(n, k)",
    check=ALL_SETS,
    needs=("unit",),
    draws=SETS,
    floor=0.2,
)
OMP_7U = OMP_7U.with_mutants(
    OMP_7U.mutant(
        "equality",
        "delta_{k+1} <= 1/sqrt k suffices for unit columns.",
        hypotheses={"delta_k+1 <= 1/sqrt k": _rip_below(lambda k: 1 / math.sqrt(k), strict=False)},
    ),
    OMP_7U.mutant(
        "k-1",
        "delta_{k+1} < 1/sqrt(k-1) suffices for unit columns (k >= 2).",
        hypotheses={
            "k >= 2": lambda c: nonnegative(c.k - 2),
            "delta_k+1 < 1/sqrt(k-1)": _rip_below(lambda k: 1 / math.sqrt(max(k - 1, 1))),
        },
    ),
    OMP_7U.mutant("below 1", "delta_{k+1} < 1 suffices.", hypotheses={"delta_k+1 < 1": _rip_below(lambda k: 1.0)}),
    OMP_7U.mutant(
        "delta_k", "delta_k < c_k suffices.", hypotheses={"delta_k < c_k": _rip_below(unit_rip_bound, more=0)}
    ),
)
OMP_7B = Statement(
    "OMP-7b",
    "For unit columns mu_1(k) < c_k suffices (delta_{k+1} <= mu_1(k)): a second Babel test.",
    erc_below_one,
    {"mu_1(k) < c_k": lambda c: positive(unit_rip_bound(c.k) - c.babel(c.k))},
    latex=r"\mu_1(k) < c_k \Rightarrow \max_{|S| \le k} \mathrm{ERC}(S) < 1",
    source="THEORY.md OMP-7u; Gershgorin",
    cost="Gram matrix, row partial sorts / C(n, k)",
    check=ALL_SETS,
    needs=("unit",),
    draws=SETS,
    floor=0.2,
)
OMP_7B = OMP_7B.with_mutants(
    OMP_7B.mutant(
        "1 over sqrt k",
        "mu_1(k) < 1/sqrt(k) suffices for unit columns, for all k.",
        hypotheses={"mu_1(k) < 1/sqrt k": lambda c: positive(1 / math.sqrt(c.k) - c.babel(c.k))},
    ),
)

STATEMENTS = (OMP_6, OMP_6M, OMP_7, OMP_7U, OMP_7B)
