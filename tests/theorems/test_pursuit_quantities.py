"""Thresholds, margins, stars and tails behind the OMP and TopK statements, against brute force."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.optimize import linprog
from scipy.stats import hypergeom
from support import oracles
from support.cases.pursuit_cases import CORNER, FAN, KNOWN, duplicates, full, mo_extremal, of, simplex, star
from support.strategies import masks

from expander_theory import InvalidArgument, sign_dictionary, uniform_mask
from expander_theory.theorems import quantities
from expander_theory.theorems._ranges import nonnegative_range_threshold, range_threshold, uniform_range_threshold
from expander_theory.theorems._statements.amortisation import Encoder, one_step_margin, one_step_modulus_exact
from expander_theory.theorems._statements.pursuit import (
    margins as pursuit,
    omp,
    omp_noise,
    onestep,
    topk,
)
from expander_theory.theorems._statements.pursuit.margins import pursuit_margin
from expander_theory.theorems._statements.pursuit.omp_limits import find_star
from expander_theory.theorems.case import Case


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
