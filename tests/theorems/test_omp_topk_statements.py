"""OMP, TopK and median statements on instances made by hand, and their thresholds against brute force."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.optimize import linprog
from scipy.stats import hypergeom
from support import oracles
from support.strategies import masks

from expander_theory import Dictionary, InvalidArgument, Mask, sign_dictionary, uniform_mask
from expander_theory.theorems import quantities
from expander_theory.theorems.case import Case
from expander_theory.theorems.ranges import nonnegative_range_threshold, range_threshold, uniform_range_threshold
from expander_theory.theorems.statements import amortisation, l1_erc
from expander_theory.theorems.statements.amortisation import Encoder, one_step_margin, one_step_modulus_exact
from expander_theory.theorems.statements.pursuit import (
    margins as pursuit,
    omp,
    omp_flat,
    omp_limits,
    omp_noise,
    onestep,
    topk,
)
from expander_theory.theorems.statements.pursuit.margins import pursuit_margin
from expander_theory.theorems.statements.pursuit.omp_limits import find_star

_MODULES = (omp, omp_flat, omp_noise, omp_limits, l1_erc, topk, amortisation, onestep)
KNOWN = {v.id: v for module in _MODULES for s in module.STATEMENTS for v in (s, *s.mutants)}


def of(mask, values, code=None, *, k=None, noise=None, id=None):
    """A case, with unit columns if the statement ``id`` needs them, or if none is named."""
    x = None if code is None else np.array(code, float)
    k = k or (1 if x is None else int(np.count_nonzero(x)))
    unit = id is None or "unit" in KNOWN[id].needs
    return Case(Dictionary(mask, np.array(values, float)), k, x, None if noise is None else np.array(noise), unit=unit)


def full(W, code=None, **rest):
    """A case of a dense matrix, every entry on the mask."""
    W = np.array(W, float)
    return of(Mask(W.shape[0], np.tile(np.arange(W.shape[0]), (W.shape[1], 1))), W.T, code, **rest)


def signed_k4(**rest):
    """Columns the vertices of K_4, rows its edges, +1 and -1: mu = 1/3, G = (4/3) I - J/3."""
    edges = list(itertools.combinations(range(4), 2))
    rows = [[i for i, e in enumerate(edges) if v in e] for v in range(4)]
    values = [[1.0 if edges[i][0] == v else -1.0 for i in r] for v, r in enumerate(rows)]
    return of(Mask(6, np.array(rows)), values, **rest)


def star(d, doubled=False, **rest):
    """A column and a partner through each of its rows, flat."""
    rows = [list(range(d))] + [[i, *range(d + i * (d - 1), d + (i + 1) * (d - 1))] for i in range(d)]
    m = d * d
    if doubled:
        rows.append([0, *range(m, m + d - 1)])
        m += d - 1
    return of(Mask(m, np.array(rows)), np.ones((len(rows), d)), **rest)


def duplicates(code=None, **rest):
    return of(Mask(1, np.array([[0], [0]])), [[1.0], [1.0]], code, **rest)


def simplex(n):
    """n unit vectors of n - 1 dimensions with equal inner products."""
    return np.linalg.svd(np.ones((1, n)))[2][1:] * math.sqrt(n / (n - 1))


def spiky_pair(spike=1000.0, **rest):
    return of(Mask(3, np.array([[0, 1], [0, 2]])), [[spike, 1.0], [spike, 1.0]], **rest)


def mo_extremal(k):
    """delta_{k+1} = 1/sqrt(k+1) and OMP ties on the first k columns."""
    W = np.zeros((k + 1, k + 1))
    W[:k, :k] = math.sqrt(k / (k + 1)) * np.eye(k)
    W[:k, k], W[k, k] = 1 / math.sqrt(k * (k + 1)), 1.0
    return W


CORNER = np.array([[1.0, 0, 0.6, 0], [0, 1, 0.6, 0], [0, 0, math.sqrt(0.28), 0], [0, 0, 0, 1]])  # ERC({0, 1}) = 1.2
ANGLES = np.deg2rad([0, 154, 297])
FAN = np.array([np.cos(ANGLES), np.sin(ANGLES)])

REFUTED = [
    ("OMP-1/equality", duplicates([1, 0])),
    ("OMP-1/no-inverse", full([[1, -0.6, 0.4], [0, 0.8, 0.8], [0, 0, math.sqrt(0.2)]], [1, 1, 0])),
    ("OMP-1s/at-once", full(CORNER, [1, 1, 1, 0])),
    ("OMP-1s/monotone", full(CORNER, [1, 1, 1, 0])),
    ("OMP-1m/n=k", full(CORNER[:3, :3], k=3)),
    ("OMP-1m/one-set", full(CORNER, [1, 1, 1, 0])),
    ("OMP-1m/larger-sets", signed_k4(k=1)),  # 1/3 for one column, exactly 1 for two
    ("OMP-1m/values", full([[2, 0, 1, 0], [1, 0, 0, 1], [0, 0, 1, 0], [0, -1, -1, 1]], k=3)),  # 1.498, then 1.407
    ("L1-ERC/equality", duplicates([1, 0])),
    ("L1-ERC/weights", full([[1, 2, 1], [1, 1, 2]], [1, 0, 0])),
    ("L1-ERC/no-inverse", signed_k4(code=[1, 1, 0, 0])),
    ("L1-ERC/converse", full(CORNER[:3, :3], [1, 1, 0])),  # no kernel, and ERC 1.2
    ("L1-ERCb/no-k-1", signed_k4(code=[1, 1, 0, 0])),
    ("L1-ERCb/largest-norm", of(Mask(1, np.array([[0], [0], [0]])), [[1.0], [1.0], [2.0]], [1, 0, 0], id="L1-ERCb")),
    ("OMP-2/equality", duplicates()),
    ("OMP-2/equality", signed_k4(k=2)),
    ("OMP-2/2k-2", signed_k4(k=2)),
    ("OMP-2/k", signed_k4(k=2)),
    ("OMP-3/no-k-1", signed_k4(k=2)),
    ("OMP-3/equality", signed_k4(k=2)),
    ("OMP-4/no-C", spiky_pair()),
    ("OMP-4/least-C", of(Mask(3, np.array([[0, 1], [0, 2]])), [[5.0, 1.0], [1.0, 1.0]])),
    ("OMP-5/k-eps_k", duplicates(k=1)),
    ("OMP-5/k-for-k+1", duplicates(k=1)),
    ("OMP-5/C-for-C^2", spiky_pair(k=1)),
    ("OMP-5/no-C", spiky_pair(k=1)),
    ("OMP-6/factor-1", full(np.eye(2), [1, 0], noise=[0.0, 0.8])),
    ("OMP-6/no-1-M", full([[1, 0.8], [0, 0.6]], [1, 0], noise=[0.0, 0.4])),
    ("OMP-7u/equality", duplicates(k=1)),
    ("OMP-7u/equality", star(4, k=4)),
    ("OMP-7u/k-1", full([[1, 0, 0.7], [0, 1, 0.7], [0, 0, math.sqrt(0.02)]], k=2)),
    ("OMP-7u/below-1", full([[1, 0, 0.7], [0, 1, 0.7], [0, 0, math.sqrt(0.02)]], k=2)),
    ("OMP-7u/delta_k", duplicates(k=1)),
    ("OMP-7b/1-over-sqrt-k", signed_k4(k=2)),
    ("NEG-3/any-overlap", of(Mask(2, np.array([[0, 1], [0, 1]])), [[1, 1], [1, -1]])),
    ("TOPK-1/ERC", full([[1, 0.1, 0.5], [0, math.sqrt(0.99), 0], [0, 0, math.sqrt(0.75)]], [100, 1, 0])),
    ("TOPK-1/Babel-at-any-range", star(7, code=[100, 1, 0, 0, 0, 0, 0, 0])),
    ("TOPK-1/mu_1", signed_k4(code=[1, 1, 0, 0])),
    ("TOPK-1/range-1", signed_k4(code=[1, 1, 0, 0])),
    ("TOPK-1r/no-further-condition", full(FAN, [1, 1.2, 0])),
    ("TOPK-2b/n-1", Encoder(simplex(4), simplex(4).T, np.zeros(4))),
    ("TOPK-2c/two-columns", Encoder(np.array([[1.0, 0.5]]), np.array([[1.0], [0.5]]), np.zeros(2))),
    ("TOPK-3/x_min", signed_k4(code=[1, 1, 0, 0])),
    ("AVG-1/no-factor-2", duplicates([1, 0])),
    ("AVG-1/no-half", duplicates([1, 0])),
    ("MED-1/equality", of(Mask(3, np.array([[0, 1], [0, 2]])), [[1, 1], [1, 1]], [1, 0], id="MED-1")),
    ("MED-1e/k", duplicates([1, 0], id="MED-1")),
    *[("OMP-7/k-for-k+1", full(mo_extremal(k) * [*[0.999] * k, 1.001], k=k, id="OMP-7")) for k in (1, 2, 3, 5)],
]


@pytest.mark.parametrize(("id", "instance"), REFUTED, ids=[id for id, _ in REFUTED])
def test_the_mutant_is_refuted_and_the_statement_is_not(id, instance):
    assert KNOWN[id].evaluate(instance).violated
    assert not KNOWN[id.split("/")[0]].evaluate(instance).violated


def test_every_mutant_has_an_instance():
    assert {id for id, _ in REFUTED} == {id for id, statement in KNOWN.items() if statement.wrong}


HOLDS = [
    ("OMP-1", full(CORNER, [1, 1, -2, 0]), 1.0),
    ("OMP-1m", signed_k4(k=1), None),
    ("OMP-3S", signed_k4(code=[1, 1, 0, 0]), 0.0),
    ("OMP-3b", signed_k4(k=2), 0.0),
    ("OMP-4", duplicates(), 0.0),
    ("OMP-5", star(3, k=3), 0.0),
    ("OMP-1ii", signed_k4(code=[1, 1, 0, 0]), 0.0),
    ("NEG-1", star(3), 0.0),
    ("NEG-1d", star(3, doubled=True), 0.0),
    ("NEG-2", star(2, k=2), 0.0),
    ("NEG-3", star(3), 0.0),
    ("TOPK-1c", signed_k4(code=[1, 1, 0, 0]), 0.0),
    ("TOPK-4", signed_k4(code=[1, 1, 0, 0]), 0.0),
    ("TOPK-2a", signed_k4(), None),
    ("TOPK-1n", full(FAN, [1, 1.2, 0]), None),
    ("MED-1o", of(Mask(9, np.array([[0, 1, 2], [2, 3, 4]])), [[1, 2, 3], [5, 1, 1]], [7, 0], id="MED-1"), Fraction(0)),
]


@pytest.mark.parametrize(("id", "instance", "slack"), HOLDS, ids=[id for id, *_ in HOLDS])
def test_the_statement_is_as_tight_as_its_extremal_instance(id, instance, slack):
    found = KNOWN[id].evaluate(instance)
    assert found.met
    assert found.conclusion is not None
    assert not found.conclusion.violated
    if slack is not None:
        assert found.conclusion.low == pytest.approx(slack, abs=1e-9)


@pytest.mark.parametrize(
    ("id", "instance"),
    [
        ("OMP-1", full([[1, 0, 0.6], [0, 1, 0.6], [0, 0, math.sqrt(0.28)]], [1, 1, 0])),
        ("OMP-1", duplicates([1, 1])),  # dependent: ERC is infinite, though nothing is outside
        ("OMP-2", signed_k4(k=2)),
        ("OMP-3", signed_k4(k=2)),
        ("OMP-7", full(mo_extremal(3), k=3, id="OMP-7")),
        ("OMP-7u", star(4, k=4)),
        ("OMP-7b", duplicates(k=1)),
        ("OMP-6", full(np.eye(2), [1, 0], noise=[0.0, 0.8])),
        ("OMP-6mu", full([[1, 0.8], [0, 0.6]], [1, 0], noise=[0.0, 0.4])),
        ("PAPER-OMP", star(3, k=3)),
        ("OMP-5e", star(3, k=3)),
        ("TOPK-1r", full(FAN, [1, 1.2, 0])),
        ("TOPK-1", signed_k4(code=[1, 1, 0, 0])),
        ("TOPK-1", signed_k4(code=[1, 1, 1, 1])),
        ("TOPK-1mu", signed_k4(code=[1, 1, 0, 0])),
        ("NEG-1", signed_k4()),
        ("NEG-1d", star(1, doubled=True)),
        ("MED-1", of(Mask(3, np.array([[0, 1], [0, 2]])), [[1, 1], [1, 1]], [1, 0], id="MED-1")),
        ("AVG-3", spiky_pair(k=1)),
    ],
)
def test_the_hypotheses_refuse(id, instance):
    assert not KNOWN[id].evaluate(instance).met


# ---- thresholds


def right(W, support, codes, kind):
    """Whether all codes are encoded rightly, from the matrix alone."""
    scores = W.T @ (W @ codes)
    others = [j for j in range(W.shape[1]) if j not in support]
    if kind == "signed":
        return bool((scores[support] * np.sign(codes[support]) > np.abs(scores[others]).max(axis=0) + 1e-12).all())
    return bool((scores[support].min(axis=0) > scores[others].max(axis=0) + 1e-12).all())


def corners(n, support, b, signed):
    ends = [1.0, b, -1.0, -b] if signed else [1.0, b]
    codes = np.zeros((n, len(ends) ** len(support)))
    codes[support] = np.array(list(itertools.product(ends, repeat=len(support)))).T
    return codes


def drawn_matrix(mask, seed, flat):
    rng = np.random.default_rng(seed)
    values = rng.choice([1.0, -1.0], mask.rows.shape) if flat else rng.standard_normal(mask.rows.shape)
    W = oracles.dense(mask.m, mask.rows, values)
    return W / np.linalg.norm(W, axis=0)


@given(masks(max_m=7, max_n=6), st.integers(0, 99), st.booleans())
def test_range_thresholds_are_where_the_encoder_breaks(mask, seed, flat):
    W = drawn_matrix(mask, seed, flat)
    n, G = mask.n, W.T @ W
    for k in range(1, min(n, 4)):
        found = []
        for support in map(list, itertools.combinations(range(n), k)):
            for threshold, kind in ((range_threshold, "signed"), (nonnegative_range_threshold, "plus")):
                R = threshold(G, support)
                inside, beyond = min(R, 1e3) * (1 - 1e-6), R * (1 + 1e-6)
                if inside >= 1:
                    assert right(W, support, corners(n, support, inside, kind == "signed"), kind)
                if 1 <= beyond < math.inf:
                    assert not right(W, support, corners(n, support, beyond, kind == "signed"), kind)
                if R < 1:
                    assert not right(W, support, corners(n, support, 1.0, kind == "signed"), kind)
            found.append(range_threshold(G, support))
        if n > 1:
            assert uniform_range_threshold(G, k) == pytest.approx(min(found), rel=1e-9)


def test_thresholds_of_known_dictionaries():
    G = np.eye(4) * 4 / 3 - 1 / 3
    assert range_threshold(G, [0, 1]) == pytest.approx(1.0)  # (1 - 1/3)/(2/3)
    assert nonnegative_range_threshold(G, [0, 1]) == math.inf
    assert uniform_range_threshold(G, 1) == uniform_range_threshold(np.eye(3), 2) == math.inf
    assert uniform_range_threshold(np.ones((3, 3)), 2) == 0
    assert nonnegative_range_threshold(FAN.T @ FAN, [0, 1]) == pytest.approx(1.33, abs=0.01)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: range_threshold(np.eye(3)[:2], [0]), "G"),
        (lambda: range_threshold(2 * np.eye(3), [0]), "G"),
        (lambda: range_threshold([[1, 0.5], [0.1, 1]], [0]), "G"),
        (lambda: range_threshold(np.eye(3), [0, 0]), "support"),
        (lambda: range_threshold(np.eye(3), []), "support"),
        (lambda: nonnegative_range_threshold(np.eye(3), [0, 1, 2]), "support"),
        (lambda: nonnegative_range_threshold(np.eye(3), [3]), "support"),
        (lambda: nonnegative_range_threshold(np.eye(3), [0.5]), "support"),
        (lambda: uniform_range_threshold(np.eye(3), 3), "k"),
        (lambda: uniform_range_threshold(np.eye(3), 0), "k"),
        (lambda: uniform_range_threshold(np.ones(3), 1), "G"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(InvalidArgument) as caught:
        call()
    assert caught.value.name == name


def test_the_corner_of_a_large_support_decides_alone(monkeypatch):
    for seed in range(8):
        c = full(np.random.default_rng(seed).standard_normal((8, 7)), [3, 1, -2, 1, 0, 0, 0])
        whole = [topk.sign_consistent_margin(c), topk._nonnegative_margin(c)]
        fails = [slack <= 0 for slack in whole]
        with monkeypatch.context() as patch:
            patch.setattr(topk, "_VERTICES", 0)
            alone = [topk.sign_consistent_margin(c), topk._nonnegative_margin(c)]
        assert [slack <= 0 for slack in alone] == fails
        assert all(a >= w - 1e-12 for a, w in zip(alone, whole, strict=True))


# ---- pursuit


@given(st.integers(0, 10**6), st.integers(1, 3))
def test_the_margin_of_a_pursuit_agrees_with_a_plain_one(seed, k):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((5, 7))
    W /= np.linalg.norm(W, axis=0)
    support = sorted(rng.choice(7, k, replace=False).tolist())
    h = W[:, support] @ rng.standard_normal(k)
    assert (pursuit_margin(W, h, support) > 0) == (sorted(oracles.omp(W, h, k)[0]) == support)


def test_ties_are_broken_against_the_support():
    W = np.eye(2)
    assert pursuit_margin(W, np.array([1.0, 1.0]), [0]) == 0
    assert pursuit_margin(W, np.array([1.0, 1.0]), [0, 1]) == 1
    assert pursuit_margin(W, np.array([1.0, 0.0]), [0, 1]) == -1  # residual 0 before the second step
    assert pursuit_margin(W, np.array([1.0, 0.0]), [0, 1], whole=False) == 1
    assert pursuit_margin(W, np.array([1.0, 0.2]), [0, 1], noise=0.5) == -1  # stops with one column
    assert pursuit_margin(W, np.array([1.0, 0.2]), [0], noise=0.5) == pytest.approx(1 - 0.5 / math.hypot(1, 0.2))
    # a tie inside the support: one of the two orders loses its second step
    V = np.array([[1.0, 0.0, 0.0, 0.4], [0.0, 1.0, 0.8, 0.0], [0.0, 0.0, 0.6, math.sqrt(0.84)]])
    assert pursuit_margin(V, V[:, 0] + V[:, 1], [0, 1]) < pursuit_margin(V, V[:, 0] + 1.1 * V[:, 1], [0, 1]) + 0.1


@pytest.mark.parametrize("seed", range(6))
def test_coefficients_of_one_support_at_any_size(monkeypatch, seed):
    W = sign_dictionary(uniform_mask(12, 15, 3, seed=seed), seed=seed)
    c = Case(W, 3, unit=True)
    support = np.random.default_rng(seed).choice(15, 3, replace=False).tolist()
    expected, rows = pursuit.erc_of(c, support), pursuit.gram_rows(c, support)
    monkeypatch.setattr(pursuit, "_WHOLE_GRAM", 0)
    assert np.allclose(pursuit.gram_rows(c, support), rows)
    assert pursuit.erc_of(c, support) == pytest.approx(expected)
    assert expected == pytest.approx(quantities.erc(c.G, np.array([support]))[0])
    if expected < math.inf:
        others = [j for j in range(15) if j not in support]
        dense = W.to_dense()
        assert expected == pytest.approx(np.abs(np.linalg.pinv(dense[:, support]) @ dense[:, others]).sum(axis=0).max())


def test_the_hardest_code_loses_by_the_coefficient():
    c = full(CORNER)
    x = next(pursuit.hardest_codes(c, [0, 1]))
    scores = np.abs(c.W.T @ (c.W @ x))
    assert scores[2] / scores[0] == pytest.approx(1.2)


def test_a_multiple_of_the_dictionary_has_the_least_constant():
    c = full(mo_extremal(3) * 7, k=3, id="OMP-7")
    assert omp_noise.scaled_rip(c, 4) == pytest.approx(1 / 2)
    assert quantities.rip(full(mo_extremal(3), id="OMP-7"), 4) == pytest.approx(1 / 2)
    assert [omp_noise.unit_rip_bound(k) for k in (1, 4, 9)] == pytest.approx([0.8, 0.5, 1 / 3])


@given(masks(max_m=10, max_n=7), st.integers(1, 4))
def test_the_papers_condition_is_the_weaker_one(mask, k):
    c = of(mask, np.ones(mask.rows.shape), k=min(k, mask.n))
    paper, ours = (next(iter(KNOWN[id].hypotheses.values()))(c) for id in ("PAPER-OMP", "OMP-5e"))
    assert paper.low <= ours.low + 1e-12


# ---- stars


@given(masks(max_m=9, max_n=7), st.booleans())
def test_a_star_found_is_one_and_none_is_missed(mask, doubled):
    rows = [set(r) for r in mask.rows.tolist()]

    def is_star(j, partners):
        meets = [rows[j] & rows[l] for l in partners]
        pairs = itertools.combinations(range(len(partners)), 2)
        apart = all(rows[partners[a]] & rows[partners[b]] <= meets[a] & meets[b] for a, b in pairs)
        counts = sorted(sum(i in met for met in meets) for i in rows[j])
        expected = [1] * (mask.d - doubled) + [2] * doubled
        return all(len(met) == 1 for met in meets) and apart and counts == expected

    found = find_star(mask, doubled)
    if found is not None:
        assert is_star(found[0], found[1:])
        assert len(set(found)) == len(found) == mask.d + 1 + doubled
    elif mask.d <= 3:
        for j in range(mask.n):
            others = [l for l in range(mask.n) if l != j]
            assert not any(is_star(j, s) for s in itertools.combinations(others, mask.d + doubled))


@pytest.mark.parametrize("d", [2, 3, 4])
def test_stars_have_the_coefficients_of_the_theory(d):
    assert find_star(star(d).mask) == tuple(range(d + 1))
    assert find_star(star(d).mask, budget=0) is None
    assert pursuit.erc_of(star(d), range(1, d + 1)) == pytest.approx(1)
    doubled = pursuit.erc_of(star(d, doubled=True), range(1, d + 2))
    assert doubled == pytest.approx(1 + (d - 1) / (d * (d + 1)))


# ---- one-step encoders


def some_code_fails(e, modulus):
    """A code s e_i + t e_l on a grid that the encoder gets wrong."""
    n = e.W.shape[1]
    sizes = [1e-4, 0.03, 0.5, 1.0, 2.0, 30.0, 1e4]
    sizes = [*sizes, *(-s for s in sizes)] if modulus else sizes
    for i, l in itertools.combinations(range(n), 2):
        others = [p for p in range(n) if p not in (i, l)]
        for s, t in itertools.product(sizes, repeat=2):
            scores = e.A @ (e.W[:, i] * s + e.W[:, l] * t) + e.c
            scores = np.abs(scores) if modulus else scores
            if others and not scores[[i, l]].min() > scores[others].max() + 1e-12 * max(abs(s), abs(t)):
                return True
    return False


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(0, 3), st.booleans())
def test_exactness_of_an_encoder_is_decided(seed, n, less, offset):
    """Matrices A W near those that are exact, so that both answers occur."""
    rng = np.random.default_rng(seed)
    M = np.diag(rng.integers(0, 3, n)) + np.where(rng.random(n) < 0.5, rng.integers(-1, 2, n), 0)
    if rng.random() < 0.3:
        M[rng.integers(n), rng.integers(n)] += rng.choice([-1, 1])
    e = Encoder(np.eye(n), M.astype(float), rng.integers(0, 2, n) * float(offset))
    assert (one_step_margin(e) <= 0) == some_code_fails(e, modulus=False)
    assert one_step_modulus_exact(e) == (not some_code_fails(e, modulus=True))


def test_simplices_are_exact_for_nonnegative_codes_only():
    for n in (3, 4, 5):
        e = Encoder(simplex(n), simplex(n).T, np.zeros(n))
        assert one_step_margin(e) > 0
        assert not one_step_modulus_exact(e)
        assert "A =" in str(e)
    assert one_step_modulus_exact(Encoder(np.eye(3), np.eye(3), np.zeros(3)))


# ---- random signs, medians


@pytest.mark.parametrize("seed", range(5))
def test_failures_over_all_signs_are_counted(seed):
    c = full(np.random.default_rng(seed).standard_normal((5, 6)), [1, 2, 0.5, 0, 0, 0])
    wrong = 0
    for signs in itertools.product((1, -1), repeat=3):
        scores = np.abs(c.W.T @ (c.W[:, :3] @ (np.array(signs) * [1, 2, 0.5])))
        wrong += scores[:3].min() <= scores[3:].max()
    assert onestep._sign_failures(c) == Fraction(wrong, 8)
    bound = sum(
        2 * math.exp(-0.25 / (8 * sum((c.x[l] * c.G[j, l]) ** 2 for l in range(3) if l != j))) for j in range(6)
    )
    assert onestep._interference_bound(c) == pytest.approx(bound)


@pytest.mark.parametrize("seed", range(8))
def test_the_dual_value_tells_whether_l1_is_unique(seed):
    rng = np.random.default_rng(seed)
    c = full(rng.standard_normal((3, 6)), [1, 2, 0, 0, 0, 0])
    signs = rng.choice([1.0, -1.0], 2)
    x = np.array([*(signs * [1, 2]), 0, 0, 0, 0])
    value = onestep.bp_dual_value(c.W, (0, 1), signs)
    assert abs(value - 1) > 1e-3
    least = linprog(np.ones(12), A_eq=np.hstack([c.W, -c.W]), b_eq=c.W @ x, method="highs")
    assert (value < 1) == np.allclose(least.x[:6] - least.x[6:], x, atol=1e-7)


def test_basis_pursuit_failures():
    assert onestep._bp_failures(duplicates([1, 0])) == 1
    assert onestep._bp_failures(full(np.eye(3), [1, 1, 0])) == 0
    assert onestep._bp_failures(duplicates([1, 1])) == 1
    # w_2 = 0.9 (w_0 + w_1): x = (1, 1) is not least, x = (1, -1) is
    W = np.array([[1, 0, 1], [0, 1, 1.0]]) / [1, 1, math.sqrt(2)]
    assert onestep._bp_failures(full(W, [1, 1, 0])) == Fraction(1, 2)


@given(masks(max_m=8, max_n=7), st.integers(1, 4))
def test_crowding_is_a_hypergeometric_tail(mask, k):
    c = of(mask, np.ones(mask.rows.shape))
    if mask.n < 2:
        return
    k = min(k, mask.n - 1)
    partners = np.count_nonzero(c.overlaps, axis=1)
    tail = sum(hypergeom.sf(math.ceil(mask.d / 2) - 1, mask.n - 1, R, k) for R in partners)
    assert float(onestep._crowding(c, k)) == pytest.approx(tail)
    if c.overlap <= 1:
        sums = [sum(omp.support_sums(c, s)) for s in itertools.combinations(range(mask.n), k)]
        assert float(onestep._babel_violations(c, k)) == pytest.approx(np.mean([total >= 1 - 1e-9 for total in sums]))


@given(masks(max_m=8, max_n=6), st.integers(0, 99), st.integers(1, 3))
def test_hits_and_medians(mask, seed, k):
    rng = np.random.default_rng(seed)
    support = rng.choice(mask.n, min(k, mask.n), replace=False)
    code = np.zeros(mask.n)
    code[support] = rng.integers(1, 5, support.size)
    c = of(mask, rng.integers(1, 4, mask.rows.shape), code, id="MED-1")
    rows = [set(r) for r in mask.rows.tolist()]
    hits = [len(rows[j] & set().union(*(rows[l] for l in support if l != j))) for j in range(mask.n)]
    assert onestep._most_hits(c) == max(hits)
    h = c.W @ code
    medians = [np.median(h[mask.rows[j]] / c.values[j]) for j in range(mask.n)]
    assert float(onestep._median_is_exact(c).low) == pytest.approx(-np.abs(np.array(medians) - code).max())


# ---- large dictionaries


LARGE = sign_dictionary(uniform_mask(300, 4200, 5, seed=0), seed=0)


@pytest.mark.parametrize(
    "id", ["OMP-2", "OMP-3", "OMP-3b", "OMP-5e", "PAPER-OMP", "OMP-7b", "NEG-3", "TOPK-1u", "AVG-3"]
)
def test_hypotheses_are_cheap_on_large_dictionaries(id):
    c = Case(LARGE, 2, unit="unit" in KNOWN[id].needs, time_limit=0.1)
    for name, condition in KNOWN[id].hypotheses.items():
        slack = condition(c)
        assert slack.low <= slack.high, name
    with pytest.raises(InvalidArgument, match="at most"):
        KNOWN[id].conclusion(Case(LARGE, 3)) if id != "NEG-3" else c.G


@pytest.mark.parametrize(
    "id", ["OMP-1", "OMP-3S", "TOPK-1", "TOPK-1n", "TOPK-1mu", "TOPK-4", "MED-1", "MED-1o", "NEG-1"]
)
def test_statements_about_one_support_are_evaluated_on_large_dictionaries(id):
    code = np.zeros(LARGE.n)
    code[[5, 900]] = [1.0, -1.0]
    c = Case(LARGE, 2, code, unit="unit" in KNOWN[id].needs)
    found = KNOWN[id].evaluate(c)
    assert not found.violated
    assert found.met or id in ("TOPK-1mu", "MED-1o")


def test_bounds_on_expansion_do_not_refute():
    """With eps only known to lie in an interval, the condition is undecided instead of failing."""
    c = Case(LARGE, 12, time_limit=0.0, unit=True)
    eps = c.eps(13)
    assert eps.low < eps.high
    slack = omp_flat._below_one(c, [(1, 13)])
    assert slack.low < slack.high
    assert slack.high == pytest.approx(float(1 - eps.low))
