"""What attacks draw: masks by their columns and known graphs, adversarial values, codes and noise.

Everything is drawn as *structure* (small integers, choices from short lists), so that a failure shrinks to a
readable graph. The same strategies serve every statement, its mutants, and a user's own statements.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import strategies as st

from expander_theory.dictionaries import Dictionary, Floats
from expander_theory.masks import Mask
from expander_theory.theorems.case import Case
from expander_theory.theorems.quantities import kernel_vector
from expander_theory.theorems.statement import Draws, Statement

# ---- masks


@st.composite
def masks(draw: Any, max_m: int = 8, max_n: int = 7, min_n: int = 1) -> Mask:
    """Masks column by column (duplicates are likely), or a small known graph."""
    columns = _columns(max_m, max_n, min_n)
    families = [columns, columns, *([_graphs(max_n), _stars(max_n), _unions(max_n)] if min_n <= 3 else [])]
    return draw(st.one_of(*families))


@st.composite
def _columns(draw: Any, max_m: int, max_n: int, min_n: int, degree: int | None = None) -> Mask:
    m = draw(st.integers(degree or 1, max_m))
    d = draw(st.integers(1, min(m, 4))) if degree is None else degree
    n = draw(st.integers(min_n, max_n))
    column = st.lists(st.integers(0, m - 1), min_size=d, max_size=d, unique=True)
    distinct = draw(st.integers(1, n)) if draw(st.booleans()) else n
    columns = draw(st.lists(column, min_size=distinct, max_size=distinct))
    which = st.just(0) if draw(st.booleans()) else st.integers(0, distinct - 1)
    copies = draw(st.lists(which, min_size=n - distinct, max_size=n - distinct))
    return Mask.from_columns(m, np.array(columns + [columns[j] for j in copies]))


@st.composite
def _unions(draw: Any, max_n: int) -> Mask:
    """Two small masks side by side, on rows of their own."""
    d = draw(st.integers(1, 3))
    first, second = (draw(_columns(d + 2, max(1, max_n // 2), 1, d)) for _ in range(2))
    return Mask(first.m + second.m, np.concatenate([first.rows, second.rows + first.m]))


@st.composite
def _graphs(draw: Any, max_n: int) -> Mask:
    """Vertices of a graph as columns, edges as rows (complete, cycle, complete bipartite, circulant)."""
    v = draw(st.integers(3, max(3, max_n)))
    kind = draw(st.sampled_from(["complete", "complete", "cycle", "bipartite", "circulant"]))
    if kind == "bipartite":
        k = max(2, v // 2)
        v, edges = 2 * k, list(itertools.product(range(k), range(k, 2 * k)))
    elif kind == "complete":
        v = min(v, 6)
        edges = list(itertools.combinations(range(v), 2))
    else:
        steps = (1,) if kind == "cycle" or v < 5 else (1, 2)
        edges = sorted({tuple(sorted((j, (j + s) % v))) for j in range(v) for s in steps})
    return Mask.from_columns(len(edges), [[i for i, e in enumerate(edges) if j in e] for j in range(v)])


@st.composite
def _stars(draw: Any, max_n: int) -> Mask:
    """A column, and one partner through each of its rows, otherwise disjoint; one partner may be doubled."""
    largest = min(max_n - 1, 12)
    d = largest if draw(st.booleans()) else draw(st.integers(1, largest))
    doubled = draw(st.booleans()) and d + 2 <= max_n
    partners = [[i, *range(d + i * (d - 1), d + (i + 1) * (d - 1))] for i in range(d)]
    m = d + d * (d - 1)
    if doubled:
        partners.append([0, *range(m, m + d - 1)])
        m += d - 1
    return Mask.from_columns(m, [list(range(d)), *partners])


@st.composite
def _cancelling_pairs(draw: Any, max_lights: int) -> tuple[Mask, Floats]:
    """Two columns that share rows and light columns that can cancel their difference, with the code that says how.

    Columns 0 and 1 share ``shared`` of d rows (about 2d/3 is extremal for l1: THEORY.md NSP-2, Limits). Each other row
    of theirs is met by half the light columns, and what is left of these is paired off, two to a row. With flat
    values of fitting signs, w_0 - w_1 is then a combination of light columns of the same total mass.
    """
    lights = 2 * draw(st.integers(2, max_lights // 2))
    d = draw(st.integers(2, 7))
    shared = max(1, round(2 * d / 3)) if draw(st.booleans()) else draw(st.integers(1, d - 1))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    columns = [list(range(d)), [*range(shared), *range(d, 2 * d - shared)]]
    hits: list[list[int]] = [[] for _ in range(lights)]
    for row in range(shared, 2 * d - shared):  # the least used half, in random order
        for l in sorted(rng.permutation(lights), key=lambda l: len(hits[l]))[: lights // 2]:
            hits[l].append(row)
    row, met = 2 * d - shared, set()
    while any(len(hit) < d for hit in hits):
        first, *others = sorted((l for l in rng.permutation(lights) if len(hits[l]) < d), key=lambda l: len(hits[l]))
        second = [l for l in others if frozenset((first, l)) not in met][:1]
        for l in (first, *second):
            hits[l].append(row)
            met.add(frozenset((first, l)))
        row += 1
    code = np.array([1.0, -1.0, *[2 / lights] * lights])
    return Mask.from_columns(row, [*columns, *hits]), code


# ---- values


@st.composite
def values(draw: Any, mask: Mask, family: str, code: Floats | None = None) -> Floats:
    """Values on a mask: moduli and signs, small integers in float64 wherever possible; never a zero column."""
    n, d = mask.rows.shape
    if family == "positive":
        return np.ones((n, d))
    moduli = _moduli(draw, mask, family)
    kind = draw(st.sampled_from(["plus", "signs", "cancelling", "cancelling"]))
    if kind == "plus":
        return moduli
    if kind == "signs":
        return moduli * _signs(draw, n * d).reshape(n, d)
    return _cancelling(mask, moduli, np.ones(n) if code is None or draw(st.integers(0, 2)) else code)


def _moduli(draw: Any, mask: Mask, family: str) -> Floats:
    n, d = mask.rows.shape
    kinds = ["one", "one", "one", "small", "peaks", "crowded peaks", "by row", "gaussian"]
    kind = "one" if family == "flat" else draw(st.sampled_from(kinds + ["holes"] * 3 * (family == "zeros")))
    out = np.ones((n, d))
    if kind == "gaussian":
        out = np.abs(np.random.default_rng(draw(st.integers(0, 2**16))).standard_normal((n, d)))
    elif kind == "small":
        out *= np.array(draw(st.lists(st.integers(1, 4), min_size=n * d, max_size=n * d))).reshape(n, d)
    elif kind == "by row":  # columns look alike on the rows that they share
        scale = draw(st.lists(st.sampled_from([1.0, 1.0, 2.0, 5.0]), min_size=mask.m, max_size=mask.m))
        out *= np.array(scale)[mask.rows]
    elif kind == "holes":
        kept = np.array(draw(st.lists(st.booleans(), min_size=n * d, max_size=n * d))).reshape(n, d)
        kept[:, 0] |= ~kept.any(axis=1)
        out *= kept
    elif kind != "one":
        if kind == "crowded peaks":  # in the row that most columns share
            peak = np.argmax(mask.row_degrees[mask.rows], axis=1)
        else:
            peak = np.array(draw(st.lists(st.integers(0, d - 1), min_size=n, max_size=n)))
        out[np.arange(n), peak] *= draw(st.sampled_from([2, 10, 1000]))
    return out


def _signs(draw: Any, count: int) -> Floats:
    bits = draw(st.integers(0, 2**count - 1)) if count <= 64 else None
    if bits is None:
        return np.random.default_rng(draw(st.integers(0, 2**16))).choice([1.0, -1.0], count)
    return np.array([-1.0 if bits >> i & 1 else 1.0 for i in range(count)])


def _cancelling(mask: Mask, moduli: Floats, code: Floats) -> Floats:
    """Signs that make W x small for the code: in every row the largest terms first, each against the sum so far."""
    start, columns = mask.row_lists
    out = moduli.copy()
    for i in range(mask.m):
        members = columns[start[i] : start[i + 1]]
        places = {int(j): int(np.searchsorted(mask.rows[j], i)) for j in members}
        total = 0.0
        for j, place in sorted(places.items(), key=lambda item: -abs(code[item[0]] * moduli[item[0], item[1]])):
            if total * code[j] * out[j, place] > 0:
                out[j, place] *= -1
            total += code[j] * out[j, place]
    return out


# ---- codes


@st.composite
def codes(draw: Any, n: int, size: int) -> Floats:
    """A code with ``size`` nonzeros: the first columns or any, signs, and adversarial magnitudes."""
    support = list(range(size)) if draw(st.booleans()) else sorted(draw(st.permutations(range(n)))[:size])
    kind = draw(st.sampled_from(["ones", "signs", "small", "powers", "range", "heavy", "fading", "gaussian", "primes"]))
    signs = _signs(draw, size) if kind != "ones" else np.ones(size)
    if kind == "gaussian":
        moduli = np.abs(np.random.default_rng(draw(st.integers(0, 2**16))).standard_normal(size)) + 1e-3
    elif kind == "small":
        moduli = np.array(draw(st.lists(st.integers(1, 4), min_size=size, max_size=size)), float)
    elif kind == "powers":  # all subset sums differ
        moduli = 2.0 ** np.array(draw(st.permutations(range(size))))
    elif kind == "range":
        moduli = np.array(draw(st.lists(st.sampled_from([1.0, 1.0, 3.0, 100.0]), min_size=size, max_size=size)))
    elif kind == "heavy":  # some large, the others share the same mass
        heavy = draw(st.integers(1, max(1, size // 2)))
        moduli = np.full(size, heavy / max(1, size - heavy))
        moduli[:heavy] = 1.0
    elif kind == "fading":  # some, and others a hundred times smaller
        moduli = np.where(np.arange(size) < draw(st.integers(1, size)), 1.0, 0.01)
    elif kind == "primes":
        moduli = np.array([2.0, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53])[:size]
    else:
        moduli = np.ones(size)
    code = np.zeros(n)
    code[support] = signs * moduli
    return code


# ---- cases


def cases(statement: Statement, k: int | None = None) -> st.SearchStrategy[Any]:
    """Instances for a statement: its own strategy, or dictionaries with k, code, noise and activation as its draws say.

    Args:
        k: draw cases of this k alone (or of n columns, where there are fewer).
    """
    return statement.instances() if statement.instances else _cases(statement, k)


@st.composite
def _cases(draw: Any, statement: Statement, fixed: int | None) -> Case:
    draws: Draws = statement.draws
    planted = None
    if draws.max_n >= 8 and draws.values != "positive" and draw(st.booleans()):
        mask, planted = draw(_cancelling_pairs(draws.max_n - 2))
    else:
        mask = draw(masks(draws.max_m, draws.max_n))
    k = draw(st.integers(1, min(draws.max_k, mask.n))) if fixed is None else min(fixed, mask.n)
    code = None
    if draws.code == "any" and planted is not None:
        code = planted
    elif draws.code:
        size = k if draws.code == "k" else mask.n if draw(st.booleans()) else draw(st.integers(1, mask.n))
        code = draw(codes(mask.n, size))
    if planted is not None and draw(st.integers(0, 3)) > 0:
        dictionary = Dictionary(mask, _cancelling(mask, np.ones(mask.rows.shape), planted))
    else:
        dictionary = Dictionary(mask, draw(values(mask, draws.values, code)))
    if code is not None and draw(st.integers(0, 3)) == 0:
        code = _kernel_code(draw, dictionary, int(np.count_nonzero(code)) if draws.code == "k" else mask.n, code)
    noise = None
    if draws.noise:
        noise = _noise(draw, dictionary)
    signal = _signal(draw, dictionary) if draws.signal else None
    case = Case(dictionary, k, code, noise, unit="unit" in statement.needs, signal=signal)
    if fixed is None and draw(st.booleans()):
        case = at_the_boundary(statement, case)
    return retreat(statement, case) if draws.code or draws.noise else case


def _kernel_code(draw: Any, dictionary: Dictionary, size: int, otherwise: Floats) -> Floats:
    """The ``size`` largest entries of a kernel vector of W: what is left of it represents the same activation."""
    chosen = draw(st.permutations(range(dictionary.n)))
    v = kernel_vector(Case(dictionary), chosen)
    if v is None or (np.count_nonzero(v) < size and size < dictionary.n):
        return otherwise
    code = np.zeros(dictionary.n)
    kept = sorted(range(dictionary.n), key=lambda j: -abs(v[j]))[:size]
    code[kept] = v[kept]
    return code


def _noise(draw: Any, dictionary: Dictionary) -> Floats:
    """Along a column, a difference of two, a row, or at random."""
    n, m = dictionary.n, dictionary.m
    W = dictionary.to_dense() / dictionary.column_norms
    kind = draw(st.sampled_from(["column", "difference", "row", "random"]))
    if kind == "random":
        noise = np.random.default_rng(draw(st.integers(0, 2**16))).standard_normal(m)
    elif kind == "row":
        noise = np.eye(m)[draw(st.integers(0, m - 1))]
    else:
        noise = W[:, draw(st.integers(0, n - 1))].copy()
        if kind == "difference":
            noise -= W[:, draw(st.integers(0, n - 1))]
    norm = np.linalg.norm(noise)
    scale = draw(st.sampled_from([1.0, 0.1, 10.0, -1.0]))
    return scale * noise / norm if norm > 1e-9 else np.zeros(m)


def _signal(draw: Any, dictionary: Dictionary) -> Floats:
    """Small integers on some rows, a signed sum of columns, equal moduli, or at random; never zero."""
    n, m = dictionary.n, dictionary.m
    kind = draw(st.sampled_from(["integers", "columns", "equal", "random"]))
    if kind == "random":
        return np.random.default_rng(draw(st.integers(0, 2**16))).standard_normal(m)
    if kind == "equal":
        return _signs(draw, m)
    if kind == "columns":
        weights = draw(st.lists(st.sampled_from([0, 0, 1, -1, 2]), min_size=n, max_size=n))
        signal = (dictionary.to_dense() / dictionary.column_norms) @ np.array(weights, float)
    else:
        signal = np.array(draw(st.lists(st.integers(-3, 3), min_size=m, max_size=m)), float)
    return signal if np.abs(signal).max() > 1e-9 else np.eye(m)[0]


def at_the_boundary(statement: Statement, case: Case) -> Case:
    """The case at the largest k whose hypotheses are met (a code of k nonzeros keeps its k)."""
    if statement.draws.code == "k" or not statement.hypotheses:
        return case
    best = case
    for k in range(1, min(statement.draws.max_k, case.n) + 1):
        candidate = with_parts(case, k=k)
        if statement.applies(candidate):
            best = candidate
    return best


def retreat(statement: Statement, case: Case, steps: int = 7) -> Case:
    """The case just inside its hypotheses, if noise and dynamic range are all that keeps it outside.

    Noise is scaled by t and moduli of the code are raised to the power t, with the largest t in [0, 1] found by
    bisection.
    """

    def at(t: float) -> Case:
        code = case.code if case.code is None else np.sign(case.code) * np.abs(case.code) ** t
        return with_parts(case, code=code, noise=None if case.noise is None else t * case.noise)

    if not statement.hypotheses or statement.applies(case):
        return case
    inside, outside, best = 0.0, 1.0, at(0.0)
    if not statement.applies(best):
        return case
    for _ in range(steps):
        middle = (inside + outside) / 2
        candidate = at(middle)
        if statement.applies(candidate):
            inside, best = middle, candidate
        else:
            outside = middle
    return best


_PARTS = ("dictionary", "k", "code", "noise", "unit", "time_limit", "profiles", "signal")


def with_parts(case: Case, **changes: Any) -> Case:
    """A copy with some parts changed; what was computed from the mask alone is kept."""
    parts = {name: getattr(case, name) for name in _PARTS}
    new = Case(**{**parts, **changes})
    kept = {"subsets", "overlaps", "overlap"}
    if "dictionary" not in changes:
        kept |= {"values", "norms1", "C_squared", "C", "beta", "alpha", "phi", "_rational", "W", "G", "_babel_sums"}
    if new.mask is case.mask:
        new.__dict__.update({name: value for name, value in case.__dict__.items() if name in kept})
    return new
