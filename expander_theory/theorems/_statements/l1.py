"""Section B of THEORY.md, second half: flatness, l1 geometry, stability, null space properties."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import bmat, csr_array, identity

from expander_theory.dictionaries import Floats
from expander_theory.theorems._statements.identifiability import below
from expander_theory.theorems.case import Case
from expander_theory.theorems.quantities import case_rank, subsets_of
from expander_theory.theorems.slack import Slack, least, nonnegative, positive
from expander_theory.theorems.statement import Draws, Statement

_HALF = Fraction(1, 2)
_LP_TOLERANCE = 1e-8


# ---- FLAT-1


def _conversions(c: Case) -> Slack:
    phi, beta, C2, d = c.phi, c.beta, c.C_squared, c.d
    parts = [nonnegative(phi - 1 / C2), nonnegative(C2 - beta**2 * phi), nonnegative(C2**2 - C2 / phi)]
    for i in range(1, 2 * d):  # at both ends the sides are equal
        eps = Fraction(i, 2 * d)
        share = c.top_mass(eps * d)
        parts += [nonnegative(min(eps * beta, 1 - (1 - eps) * c.alpha) - share), nonnegative(eps / phi - share**2)]
    return least(*parts)


FLAT_1 = Statement(
    "FLAT-1",
    "Measures of flatness bound each other: 1/C^2 <= phi, beta <= C/sqrt(phi) <= C^2, and for 0 <= eps <= 1 "
    "Tbar(eps d) <= min(eps beta, sqrt(eps/phi), 1 - (1-eps) alpha).",
    _conversions,
    latex=r"\tfrac{1}{C^2} \le \varphi,\quad \beta \le \tfrac{C}{\sqrt\varphi} \le C^2,\quad "
    r"\bar T(\varepsilon d) \le \min\{\varepsilon\beta, \sqrt{\varepsilon/\varphi}, 1 - (1-\varepsilon)\alpha\}",
    source="Cauchy-Schwarz; THEORY.md FLAT-1",
    cost="none / d n",
    check="exact rationals, inequalities between roots squared",
    draws=Draws(values="zeros", max_n=4),
)


# ---- RIP1-1 and its consequences


def _mass(c: Case) -> Floats:
    """lambda_j |x_j|."""
    return c.norms1 * np.abs(c.x)


def _lower_bound(constant):
    """||Wx||_1 >= constant(c, eps_s) ||x||_{1,lambda}, relative to the right-hand norm."""

    def conclusion(c: Case) -> Slack:
        mass = float(_mass(c).sum())
        return nonnegative(float(np.abs(c.W @ c.x).sum()) / mass - float(constant(c)))

    return conclusion


def _eps(c: Case) -> Fraction:
    return c.eps(len(c.support)).high


def _rip1(c: Case) -> Slack:
    mass, image = _mass(c), float(np.abs(c.W @ c.x).sum())
    total = float(mass.sum())
    beta = c.d * np.abs(c.values).max(axis=1) / c.norms1
    by_column = float(((1 - 2 * float(_eps(c)) * beta) * mass).sum())
    bound = float(1 - 2 * c.top_mass(_eps(c) * c.d))
    parts = (image / total - bound, 1 - image / total, (image - by_column) / total)
    return least(*(nonnegative(part) for part in parts))


RIP1_1 = Statement(
    "RIP1-1",
    "For |supp x| <= s: (1 - 2 Tbar(eps_s d)) ||x||_{1,lambda} <= ||Wx||_1 <= ||x||_{1,lambda}, and "
    "||Wx||_1 >= sum_j (1 - 2 eps_s beta_j) lambda_j |x_j|.",
    _rip1,
    latex=r"(1 - 2\bar T(\varepsilon_s d))\, \|x\|_{1,\lambda} \le \|Wx\|_1 \le \|x\|_{1,\lambda}",
    source="flat case: Berinde, Gilbert, Indyk, Karloff, Strauss 2008; THEORY.md RIP1-1",
    cost="none / eps_s",
    check="codes drawn, and moved by the adversary; floats, 1e-9",
    draws=Draws(max_m=6, max_n=5, code="any"),
)
RIP1_1 = RIP1_1.with_mutants(
    RIP1_1.mutant(
        "no flatness", "||Wx||_1 >= (1 - 2 eps_s) ||x||_{1,lambda} whatever the values.",
        conclusion=_lower_bound(lambda c: 1 - 2 * _eps(c)),
    ),
    RIP1_1.mutant("eps beta", "Constant 1 - eps_s beta.", conclusion=_lower_bound(lambda c: 1 - _eps(c) * c.beta)),
    RIP1_1.mutant("1 - Tbar", "Constant 1 - Tbar.", conclusion=_lower_bound(lambda c: 1 - c.top_mass(_eps(c) * c.d))),
    RIP1_1.mutant(
        "exact size", "Constant 1 - 2 Tbar(eps^=_s d), from sets of exactly s columns.",
        conclusion=_lower_bound(lambda c: 1 - 2 * c.top_mass(c.subsets.eps_at(len(c.support)) * c.d)),
    ),
    RIP1_1.mutant(
        "floor", "Tbar at floor(eps_s d) instead of interpolated.",
        conclusion=_lower_bound(lambda c: 1 - 2 * c.top_mass(Fraction(math.floor(_eps(c) * c.d)))),
    ),
)  # fmt: skip


def _top_mass_below_half(c: Case) -> Slack:
    eps = c.eps(len(c.support))
    return positive(_HALF - c.top_mass(eps.high * c.d), high=_HALF - c.top_mass(eps.low * c.d), how=eps.how)


STAB_1 = Statement(
    "STAB-1",
    "If Tbar(eps_{2k} d) < 1/2, two k-sparse codes are no further apart than "
    "||x - x'||_{1,lambda} <= ||W(x - x')||_1/(1 - 2 Tbar(eps_{2k} d)).",
    lambda c: nonnegative(
        float(np.abs(c.W @ c.x).sum() / (1 - 2 * float(c.top_mass(_eps(c) * c.d))) - _mass(c).sum())
        / float(_mass(c).sum())
    ),
    {"Tbar(eps_2k d) < 1/2": _top_mass_below_half},
    latex=r"\|x - x'\|_{1,\lambda} \le \frac{\|W(x - x')\|_1}{1 - 2\bar T(\varepsilon_{2k} d)}",
    source="THEORY.md STAB-1",
    cost="eps_{2k} / d k",
    check="the code drawn is the difference x - x', of at most 2k nonzeros",
    draws=Draws(code="any"),
)


def _sigma_bound(c: Case, root: bool) -> Slack:
    chosen = list(c.support)
    sigma = float(np.linalg.svd(c.W[:, chosen], compute_uv=False)[-1]) if len(chosen) <= c.m else 0.0
    bound = float(1 - 2 * c.top_mass(_eps(c) * c.d)) * math.sqrt(float(c.phi) / (len(chosen) if root else 1))
    return nonnegative(sigma - bound)


STAB_2 = Statement(
    "STAB-2",
    "Unit columns, Tbar(eps_s d) < 1/2: sigma_min(W_S) >= (1 - 2 Tbar(eps_s d)) sqrt(phi/|S|).",
    lambda c: _sigma_bound(c, root=True),
    {"Tbar(eps_s d) < 1/2": _top_mass_below_half},
    latex=r"\sigma_{\min}(W_S) \ge (1 - 2\bar T(\varepsilon_s d)) \sqrt{\varphi/|S|}",
    source="THEORY.md STAB-2",
    cost="eps_s / one SVD",
    check="the support of the code drawn; floats, 1e-9",
    needs=("unit",),
    draws=Draws(max_n=14, max_m=10, code="any"),
)
STAB_2 = STAB_2.with_mutants(
    STAB_2.mutant(
        "no sqrt|S|", "sigma_min(W_S) >= (1 - 2 Tbar(eps_s d)) sqrt(phi).",
        conclusion=lambda c: _sigma_bound(c, root=False),
    )
)  # fmt: skip


def _babel_sigma(c: Case) -> Slack:
    sets = c.sets(c.k)
    lowest = np.linalg.eigvalsh(c.G[sets[:, :, None], sets[:, None, :]])[:, 0].min()
    return nonnegative(float(lowest) - (1 - c.babel(min(c.k, c.n) - 1)))


STAB_3 = Statement(
    "STAB-3",
    "Unit columns: sigma_min(W_S)^2 >= 1 - mu_1(|S| - 1).",
    _babel_sigma,
    latex=r"\sigma_{\min}(W_S)^2 \ge 1 - \mu_1(|S| - 1)",
    source="Gershgorin",
    cost="none / C(n, k) eigenvalues",
    check="all supports; floats, 1e-9",
    needs=("unit",),
    draws=Draws(),
)


# ---- null space properties


def null_space_slack(W: Floats, weights: Floats, signed: Floats, rho: float, tau: float | None) -> float:
    """Least rho ||v_{S^c}|| + tau ||Wv||_1 over v with sum_S sigma_j lambda_j v_j = 1, minus 1.

    ``signed`` holds sigma_j on S and 0 elsewhere; norms are weighted by ``weights``. ``tau`` None asks for Wv = 0.
    Negative where the null space property with these constants fails for S and sigma; +inf if no such v exists.
    """
    m = W.shape[0]
    off = signed == 0
    matrix = csr_array(W)
    # v = p - q off S; on S, v_j = sigma_j u_j with u_j >= 0 (the worst case has these signs)
    cost = np.concatenate([np.where(off, rho * weights, 0.0), rho * weights[off]])
    columns = csr_array(matrix * np.where(off, 1.0, signed)[None, :])
    image = bmat([[columns, -matrix[:, np.nonzero(off)[0]]]], format="csr")
    normal = np.concatenate([np.where(off, 0.0, weights), np.zeros(off.sum())])
    if tau is None:
        a_eq, b_eq = bmat([[image], [normal[None, :]]], format="csr"), np.append(np.zeros(m), 1.0)
        found = linprog(cost, A_eq=a_eq, b_eq=b_eq, method="highs")
        return _least(found) - 1
    rows = bmat([[image, -identity(m)], [-image, -identity(m)]], format="csr")
    a_eq = np.concatenate([normal, np.zeros(m)])[None, :]
    found = linprog(
        np.concatenate([cost, np.full(m, tau)]), A_ub=rows, b_ub=np.zeros(2 * m), A_eq=a_eq, b_eq=[1.0], method="highs"
    )
    return _least(found) - 1


def _least(found: Any, unsolved: float = math.inf) -> float:
    """The optimum of a linear programme: inf where nothing is feasible, ``unsolved`` where HiGHS gives up."""
    if found.status == 2:
        return math.inf
    return float(found.fun) if found.status == 0 else unsolved


def _heaviest(c: Case) -> Floats:
    """Signs of the code on its k heaviest entries (weighted), 0 elsewhere."""
    mass = _mass(c)
    chosen = np.argsort(-mass, kind="stable")[: c.k]
    signs = np.zeros(c.n)
    signs[chosen] = np.where(c.x[chosen] < 0, -1.0, 1.0)
    return signs


def _nsp(rho, tau):
    def conclusion(c: Case) -> Slack:
        r, t = float(rho(c)), tau(c)
        slack = null_space_slack(c.W, c.norms1, _heaviest(c), r, None if t is None else float(t))
        if t is None:
            return positive(slack)
        return nonnegative(slack + _LP_TOLERANCE, how="1e-8 for the tolerance of the linear programme")

    return conclusion


def _flat_eps(c: Case) -> Fraction:
    """g = beta eps_2k (an upper bound where eps is only bounded)."""
    return c.beta * c.eps(2 * c.k).high


def _g_below(threshold: Fraction):
    return lambda c: below(threshold, c.eps(2 * c.k), c.beta)


_L1 = Draws(max_m=12, max_n=10, code="any", max_k=2)
_LP = "a linear programme gives the worst v for the k heaviest columns and signs of the code drawn; floats, 1e-9"

NSP_1 = Statement(
    "NSP-1",
    "g = beta eps_{2k} < 1/6: ||v_S|| <= 2g/(1-4g) ||v_{S^c}|| + ||Wv||_1/(1-4g) for every v and |S| <= k "
    "(norms weighted by ||w_j||_1).",
    _nsp(lambda c: 2 * _flat_eps(c) / (1 - 4 * _flat_eps(c)), lambda c: 1 / (1 - 4 * _flat_eps(c))),
    {"g < 1/6": _g_below(Fraction(1, 6))},
    latex=r"\|v_S\|_1 \le \tfrac{2g}{1-4g}\|v_{S^c}\|_1 + \tfrac{1}{1-4g}\|Wv\|_1,\quad "
    r"g = \beta\varepsilon_{2k} < \tfrac16",
    source="Foucart, Rauhut 2013, Thm 13.11 region (flat case)",
    cost="eps_{2k} / one LP per S and signs",
    check=_LP,
    draws=_L1,
)

NSP_2 = Statement(
    "NSP-2",
    "g = beta eps_{2k} < 1/4: ||v_S|| <= rho ||v_{S^c}|| + tau ||Wv||_1 with rho = 2g/(1-2g) < 1, tau = 1/(1-3g), for "
    "every v and |S| <= k (norms weighted by ||w_j||_1). So weighted l1 minimisation recovers every k-sparse code.",
    _nsp(lambda c: 2 * _flat_eps(c) / (1 - 2 * _flat_eps(c)), lambda c: 1 / (1 - 3 * _flat_eps(c))),
    {"g < 1/4": _g_below(Fraction(1, 4))},
    latex=r"\|v_S\|_1 \le \tfrac{2g}{1-2g}\|v_{S^c}\|_1 + \tfrac{1}{1-3g}\|Wv\|_1,\quad "
    r"g = \beta\varepsilon_{2k} < \tfrac14",
    source="THEORY.md NSP-2",
    cost="eps_{2k} / one LP per S and signs",
    check=_LP,
    draws=_L1,
)
_KERNEL = _nsp(lambda c: 1, lambda c: None)


def _weaker(name: str, bound: Fraction, text: str) -> Statement:
    return NSP_2.mutant(
        name, text, hypotheses={f"g < {bound}": _g_below(bound)}, conclusion=_KERNEL
    )  # fmt: skip


NSP_2 = NSP_2.with_mutants(
    _weaker("0.36", Fraction(9, 25), "g < 0.36 suffices for ||v_S|| < ||v_{S^c}|| on the kernel."),
    _weaker("0.4", Fraction(2, 5), "g < 0.4 suffices for ||v_S|| < ||v_{S^c}|| on the kernel."),
    _weaker("1/2", _HALF, "g < 1/2 suffices for ||v_S|| < ||v_{S^c}|| on the kernel."),
    NSP_2.mutant(
        "eps_k", "beta eps_k < 1/4 suffices for ||v_S|| < ||v_{S^c}|| on the kernel.",
        hypotheses={"beta eps_k < 1/4": lambda c: below(Fraction(1, 4), c.eps(c.k), c.beta)}, conclusion=_KERNEL,
    ),
    NSP_2.mutant(
        "no flatness", "The same with g = eps_{2k}, whatever the values.",
        hypotheses={"eps_2k < 1/4": lambda c: below(Fraction(1, 4), c.eps(2 * c.k))},
        conclusion=_nsp(
            lambda c: 2 * c.eps(2 * c.k).high / (1 - 2 * c.eps(2 * c.k).high),
            lambda c: 1 / (1 - 3 * c.eps(2 * c.k).high),
        ),
    ),
    NSP_2.mutant(
        "rho", "rho = g/(1-2g).",
        conclusion=_nsp(lambda c: _flat_eps(c) / (1 - 2 * _flat_eps(c)), lambda c: 1 / (1 - 3 * _flat_eps(c))),
    ),
    NSP_2.mutant(
        "tau", "tau = 1.", conclusion=_nsp(lambda c: 2 * _flat_eps(c) / (1 - 2 * _flat_eps(c)), lambda c: 1)
    ),
)  # fmt: skip


# ---- basis pursuit


def weighted_l1_solution(W: Floats, y: Floats, weights: Floats, eta: float) -> Floats | None:
    """A minimiser of sum lambda_j |z_j| subject to ||Wz - y||_1 <= eta; None where HiGHS gives up."""
    m, n = W.shape
    eye = np.eye(m)
    rows = np.block([[W, -W, -eye], [-W, W, -eye], [np.zeros((1, 2 * n)), np.ones((1, m))]])
    cost = np.concatenate([weights, weights, np.zeros(m)])
    found = linprog(cost, A_ub=rows, b_ub=np.concatenate([y, -y, [eta]]), method="highs")
    return None if found.status != 0 else found.x[:n] - found.x[n : 2 * n]


def _stable_recovery(c: Case) -> Slack:
    g = float(_flat_eps(c))
    eta = float(np.abs(c.e).sum())
    found = weighted_l1_solution(c.W, c.W @ c.x + c.e, c.norms1, eta)
    if found is None:
        return nonnegative(1.0, how="not judged: the linear programme was not solved")
    mass = np.sort(_mass(c))
    tail = float(mass[: max(0, c.n - c.k)].sum())
    error = float((c.norms1 * np.abs(c.x - found)).sum())
    bound = 2 / (1 - 4 * g) * tail + 4 * (1 - 2 * g) / ((1 - 3 * g) * (1 - 4 * g)) * eta
    scale = max(1.0, float(mass.sum()))
    return nonnegative((bound - error) / scale + _LP_TOLERANCE, how="1e-8 for the tolerance of the linear programme")


NSP_2BP = Statement(
    "NSP-2bp",
    "g = beta eps_{2k} < 1/4, y = Wx + e, ||e||_1 <= eta: every minimiser x# of sum lambda_j |z_j| under ||Wz - y||_1 "
    "<= eta has ||x - x#|| <= 2/(1-4g) sigma_k(x) + 4(1-2g)/((1-3g)(1-4g)) eta.",
    _stable_recovery,
    {"g < 1/4": _g_below(Fraction(1, 4))},
    latex=r"\|x - x^\sharp\|_{1,\lambda} \le \tfrac{2}{1-4g}\sigma_k(x)_{1,\lambda} "
    r"+ \tfrac{4(1-2g)}{(1-3g)(1-4g)}\eta",
    source="THEORY.md NSP-2, consequence",
    cost="eps_{2k} / one LP",
    check="the minimiser that HiGHS returns",
    draws=Draws(max_m=10, max_n=8, code="any", noise=True, max_k=2),
)


def unique_by_l1(c: Case, support: tuple[int, ...], unsolved: float = math.inf) -> Slack:
    """Whether basis pursuit uniquely recovers the codes with this support and the signs of x: margin over 0.

    ``unsolved`` is the margin where numbers are too badly scaled for HiGHS, so that nothing is decided.
    """
    if case_rank(c, support) < len(support):
        return positive(0.0)
    if np.linalg.svd(c.W[:, list(support)], compute_uv=False)[-1] < 1e-7 * np.abs(c.W).max():
        return positive(unsolved, how="too badly conditioned for a linear programme: not judged")
    signs = np.zeros(c.n)
    signs[list(support)] = np.sign(c.x[list(support)])
    return positive(_kernel_margin(c.W, signs, unsolved))


def _kernel_margin(W: Floats, signs: Floats, unsolved: float) -> float:
    """min ||v_{S^c}||_1 over Wv = 0, sum_S sigma_j v_j = 1, entries on S free; minus 1; inf if there is none."""
    m = W.shape[0]
    cost = np.where(signs == 0, 1.0, 0.0)
    a_eq = np.vstack([np.hstack([W, -W]), np.concatenate([signs, -signs])[None, :]])
    found = linprog(np.concatenate([cost, cost]), A_eq=a_eq, b_eq=np.append(np.zeros(m), 1.0), method="highs")
    return _least(found, unsolved) - 1


NSP_3 = Statement(
    "NSP-3",
    "If basis pursuit uniquely recovers a code with support S and signs sigma, it does so for every restriction of it: "
    "its success is monotone in k, which that of OMP is not.",
    lambda c: least(*(unique_by_l1(c, s) for s in subsets_of(c.support))),
    {"unique on S": lambda c: unique_by_l1(c, c.support, unsolved=-math.inf)},
    latex=r"\text{BP unique on } (S, \sigma) \Rightarrow \text{BP unique on } (S', \sigma|_{S'}),\ S' \subset S",
    source="THEORY.md NSP-3",
    cost="one LP / 2^k LPs",
    check="linear programmes over the kernel for every sub-support",
    draws=Draws(max_m=6, max_n=7, code="k", max_k=3),
)

STATEMENTS = (FLAT_1, RIP1_1, STAB_1, STAB_2, STAB_3, NSP_1, NSP_2, NSP_2BP, NSP_3)
