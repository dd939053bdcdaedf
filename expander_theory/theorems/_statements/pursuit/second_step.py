"""Section C of THEORY.md: what a second step buys over a one-step code, on the same columns or on others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from expander_theory.dictionaries import Floats
from expander_theory.theorems._statements.pursuit.capture import (
    SELECTION,
    captured,
    crowding,
    interference,
    one_step,
    selected,
)
from expander_theory.theorems.case import Case
from expander_theory.theorems.quantities import SINGULAR
from expander_theory.theorems.slack import Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

# ---- STEP-2: least squares on the same columns


def _independent(c: Case) -> Slack:
    chosen = selected(c)
    return positive(float(np.linalg.eigvalsh(interference(c, chosen) + np.eye(len(chosen)))[0]), how="lambda_min(G_S)")


def _fitted(c: Case, chosen: list[int]) -> Floats:
    """The least-squares code on S, shape (n,)."""
    code = np.zeros(c.n)
    code[chosen] = np.linalg.lstsq(c.W[:, chosen], c.h, rcond=None)[0]
    return code


def _refit(low: Callable[[float], float], high: Callable[[float], float]) -> Callable[[Case], Slack]:
    """The gain of least squares against u^T G_S^{-1} u, ||u||^2/low(B), and ||u||^2/high(B) where that is positive."""

    def conclusion(c: Case) -> Slack:
        chosen, scores, code = one_step(c)
        inner = interference(c, chosen)
        gram, B = inner + np.eye(len(chosen)), crowding(inner)
        gain = captured(c, _fitted(c, chosen)) - captured(c, code)
        u = inner @ scores
        energy, rounding = float(u @ u), float(np.linalg.eigvalsh(gram)[0])
        bounds = [
            nonnegative(-rounding * abs(gain - float(u @ np.linalg.solve(gram, u))), how="u^T G_S^{-1} u"),
            nonnegative(gain - energy / low(B), how="lower"),
        ]
        if high(B) > 1e-6:
            bounds.append(nonnegative(energy - high(B) * gain, how="upper"))
        return least(*bounds)

    return conclusion


STEP_2 = Statement(
    "STEP-2",
    "For unit columns and W_S of full rank, least squares on S captures u^T G_S^{-1} u more than the one-step code, "
    "u_j = sum_{l in S, l != j} G_jl c_l what the other columns add to c_j: at least ||u||^2/(1 + B) and, if B < 1, at "
    "most ||u||^2/(1 - B), B as in STEP-1b. Nothing iff u = 0.",
    _refit(lambda B: 1 + B, lambda B: 1 - B),
    {"W_S full rank": _independent},
    latex=r"\frac{\|u\|^2}{1 + B} \le u^{\mathsf T} G_S^{-1} u \le \frac{\|u\|^2}{1 - B},\quad u = (G_S - I)\, c_S",
    source="normal equations, Gershgorin; THEORY.md STEP-2",
    cost="k^3 / k^3",
    check="the errors of both codes",
    needs=("unit",),
    draws=SELECTION,
    floor=0.2,
)
STEP_2 = STEP_2.with_mutants(
    STEP_2.mutant("at least u", "It is at least ||u||^2.", conclusion=_refit(lambda B: 1.0, lambda B: 0.0)),
    STEP_2.mutant("at most u", "It is at most ||u||^2.", conclusion=_refit(lambda B: 1 + B, lambda B: 1.0)),
    STEP_2.mutant("any B", "It is at least ||u||^2/2.", conclusion=_refit(lambda B: 2.0, lambda B: 0.0)),
)


def _rounds(shrink: Callable[[Floats], float]) -> Callable[[Case], Slack]:
    """shrink(G_S - I) s_t - s_{t+1} for two rounds more, s_t the energy of W_S^+-fit less W code after t rounds."""

    def conclusion(c: Case) -> Slack:
        chosen, _, code = one_step(c)
        inner, fit = interference(c, chosen), c.W @ _fitted(c, chosen)
        factor, slacks = shrink(inner), []
        for _ in range(2):
            before = float(np.sum((fit - c.W @ code) ** 2))
            code[chosen] += c.W[:, chosen].T @ (c.h - c.W @ code)
            after = float(np.sum((fit - c.W @ code) ** 2))
            slacks.append(nonnegative((factor * before - after) / (float(c.h @ c.h) + before + after)))
        return least(*slacks)

    return conclusion


STEP_2R = Statement(
    "STEP-2r",
    "If the residual is encoded again on the same S, unit columns, and added to the code, what the code lacks of least "
    "squares on S is at most B^2 times as large after every round, B as in STEP-1b.",
    _rounds(lambda inner: crowding(inner) ** 2),
    latex=r"\|P_S h - W g_{t+1}\|^2 \le B^2 \|P_S h - W g_t\|^2,\quad g_{t+1} = g_t + W_S^{\mathsf T}(h - W g_t)",
    source="Richardson iteration, Gershgorin; THEORY.md STEP-2",
    cost="none / k d",
    check="two rounds after the one-step code",
    needs=("unit",),
    draws=SELECTION,
)
STEP_2R = STEP_2R.with_mutants(
    STEP_2R.mutant("never worse", "A second round on S never captures less.", conclusion=_rounds(lambda inner: 1.0)),
    STEP_2R.mutant("mu", "mu^2 stands for B^2.", conclusion=_rounds(lambda inner: float(np.abs(inner).max()) ** 2)),
    STEP_2R.mutant("half", "B^2/4 stands for B^2.", conclusion=_rounds(lambda inner: crowding(inner) ** 2 / 4)),
)


# ---- STEP-3: pursuit


def pursuit(c: Case, steps: int, orthogonal: bool) -> list[tuple[float, Floats, Floats]]:
    """(<w_j, e>^2, e, next e) of every step on h in units of ||h||: matching pursuit, or OMP; stops at e = 0."""
    start = c.h / float(np.linalg.norm(c.h))
    residual, chosen, found = start, list[int](), []
    for _ in range(steps):
        scores = c.W.T @ residual
        j = int(np.argmax(np.round(np.abs(scores), 12)))
        if abs(scores[j]) < 1e-7:
            break
        chosen.append(j)
        if orthogonal:
            basis = c.W[:, chosen]
            after = start - basis @ np.linalg.lstsq(basis, start, rcond=None)[0]
        else:
            after = residual - scores[j] * c.W[:, j]
        found.append((float(scores[j] ** 2), residual, after))
        residual = after
    return found


def _energy(v: Floats) -> float:
    return float(v @ v)


def _step_gains(c: Case) -> Slack:
    slacks = [nonnegative(1.0)]
    for orthogonal in (False, True):
        for score, before, after in pursuit(c, c.k, orthogonal):
            gain = _energy(before) - _energy(after)
            slacks.append(nonnegative(gain - score if orthogonal else -abs(gain - score)))
    return least(*slacks)


def _omp_gains_no_more(c: Case) -> Slack:
    steps = pursuit(c, c.k, orthogonal=True)
    return least(nonnegative(1.0), *(nonnegative(s - _energy(a) + _energy(b)) for s, a, b in steps))


def _final_energy(c: Case, orthogonal: bool) -> float:
    steps = pursuit(c, c.k, orthogonal)
    return _energy(steps[-1][2]) if steps else 1.0


def _not_below_one_step(c: Case) -> Slack:
    code = one_step(c)[2]
    return nonnegative(1 - _final_energy(c, orthogonal=False) - captured(c, code))


STEP_3 = Statement(
    "STEP-3",
    "For unit columns, a step of matching pursuit captures exactly <w_j, e>^2 of the residual e, so k steps capture "
    "the sum of theirs, whatever overlaps; a step of OMP captures at least <w_j, e>^2.",
    _step_gains,
    latex=r"\|e_t\|^2 - \|e_{t+1}\|^2 = \langle w_j, e_t\rangle^2\ \text{(MP)},\quad "
    r"\ge \langle w_j, e_t\rangle^2\ \text{(OMP)}",
    source="Mallat, Zhang 1993; Pati, Rezaiifar, Krishnaprasad 1993",
    cost="none / k n d",
    check="k steps of both on the activation",
    needs=("unit",),
    draws=Draws(signal=True),
)
STEP_3 = STEP_3.with_mutants(
    STEP_3.mutant("OMP the same", "OMP captures exactly <w_j, e>^2 too.", conclusion=_omp_gains_no_more),
    STEP_3.mutant("one step", "k steps of matching pursuit capture at least what the one-step code on the k largest "
                  "does.", conclusion=_not_below_one_step),
)  # fmt: skip


def _rates(power: int) -> Callable[[Case], Slack]:
    """<w_j, e>^2 - (sigma^2)^power/n ||P e||^2 in every step of both, P onto the span of W."""

    def conclusion(c: Case) -> Slack:
        values, vectors = np.linalg.eigh(c.W @ c.W.T)
        kept = values > SINGULAR * values[-1]
        share = float(values[kept][0]) ** power / c.n
        slacks = [nonnegative(1.0)]
        for orthogonal in (False, True):
            for score, before, _ in pursuit(c, c.k, orthogonal):
                slacks.append(nonnegative(score - share * _energy(vectors[:, kept].T @ before)))
        return least(*slacks)

    return conclusion


STEP_3R = Statement(
    "STEP-3r",
    "Every step of either takes at least the share sigma^2/n of what is left inside the span of W, sigma^2 the least "
    "nonzero eigenvalue of W W^T: after k steps at most (1 - sigma^2/n)^k of it is left.",
    _rates(1),
    latex=r"\max_j \langle w_j, e\rangle^2 \ge \tfrac{\sigma^2}{n} \|P_W e\|^2",
    source="Mallat, Zhang 1993; THEORY.md STEP-3",
    cost="m^3 / k n d",
    check="k steps of both on the activation",
    needs=("unit",),
    draws=Draws(signal=True),
)
STEP_3R = STEP_3R.with_mutants(
    STEP_3R.mutant("no sigma", "The share is 1/n.", conclusion=_rates(0)),
)

STATEMENTS = (STEP_2, STEP_2R, STEP_3, STEP_3R)
