"""Decision searches, attacks and exact values against enumeration, an integer program and known graphs."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp
from support import oracles
from support.strategies import masks

from expander_theory import InvalidArgument, Mask, expansion_profile, polynomial_mask, uniform_mask
from expander_theory._kernels.expansion.reverse_search import _is_dead_end
from expander_theory.dictionaries.expansion import attack_expansion, expanding_size, largest_losses, losing_set
from expander_theory.dictionaries.geometry import column_overlaps, overlap_counts
from expander_theory.dictionaries.spectral import spectral_neighbours
from expander_theory.masks import affine_plane_mask, biregular_mask, projective_plane_mask


def losses_by_enumeration(mask):
    """max coll(S) over |S| = t, for t = 0..n."""
    rows = mask.rows.tolist()
    return [0, *(mask.d * t - oracles.least_neighbours(rows, t) for t in range(1, mask.n + 1))]


def loss(mask, columns):
    assert list(columns) == sorted(set(columns))
    return mask.d * len(columns) - len(mask.neighbours(columns))


def varied_masks():
    """Random masks of many shapes: d = 1, d = m, repeated columns, crowded and sparse rows."""
    rng = np.random.default_rng(0)
    for trial in range(500):
        m, n = int(rng.integers(1, 15)), int(rng.integers(2, 11))
        d = 1 if trial % 7 == 0 else int(rng.integers(1, min(m, 6) + 1))
        kinds = int(rng.integers(1, n + 1)) if trial % 3 == 0 else n
        columns = [rng.permutation(m)[:d] for _ in range(kinds)]
        yield Mask.from_columns(m, [columns[j % kinds] for j in range(n)])


def test_exact_values_of_500_masks_of_many_shapes(monkeypatch):
    """With one greedy root and small budgets, so that it is the exhaustive search that decides."""
    monkeypatch.setattr("expander_theory.dictionaries.expansion._GREEDY", 1)
    monkeypatch.setattr("expander_theory.dictionaries.expansion._BUDGET", 50)
    searched = 0
    for mask in varied_masks():
        exact = losses_by_enumeration(mask)
        bounds = largest_losses(column_overlaps(mask), mask.n)
        for entry in expansion_profile(mask, min(mask.n, 6)).sizes:
            assert entry.exact
            assert mask.d * entry.size - entry.upper == exact[entry.size] == loss(mask, entry.witness)
            searched += exact[entry.size] < bounds[entry.size]
    assert searched > 300


def planted(rng):
    """A mask of random columns in which some lie in a pool of few rows, their number, and their loss."""
    d = int(rng.integers(2, 8))
    size = int(rng.integers(3, 9))
    n = size + int(rng.integers(0, 60))
    pool = int(rng.integers(d + 1, max(d + 2, size * d * 3 // 4 + 1)))
    m = pool + int(rng.integers(0, 20 * d))
    columns = [rng.permutation(pool)[:d] for _ in range(size)]
    columns += [rng.permutation(m)[:d] for _ in range(n - size)]
    where = rng.permutation(m)
    columns = [where[column] for column in columns]
    mask = Mask.from_columns(m, [columns[j] for j in rng.permutation(n)])
    return mask, size, d * size - len(set(np.concatenate(columns[:size]).tolist()))


def test_a_planted_set_is_never_missed(monkeypatch):
    """Without greedy search: the exhaustive search alone must find a set that is known to be there."""
    monkeypatch.setattr("expander_theory.dictionaries.expansion._FEW_ROOTS", 0)
    rng = np.random.default_rng(1)
    for _ in range(3000):
        mask, size, known = planted(rng)
        outcome = losing_set(mask, size, known)
        assert outcome.status == "found", (mask.m, mask.rows.tolist(), size, known)
        assert loss(mask, outcome.witness) >= known


def marginals(rows, members):
    """Marginal loss of each column of a set, by definition."""
    return {u: sum(any(i in rows[l] for l in members if l != u) for i in rows[u]) for u in members}


def dead_end_case(rng):
    """A set S, a column v canonical in S + v, and what the search knows then, as the kernel wants it."""
    m, n, d = int(rng.integers(8, 40)), int(rng.integers(6, 20)), int(rng.integers(2, 6))
    mask = uniform_mask(m, n, d, seed=int(rng.integers(2**32)))
    m *= int(rng.choice([1, 50]))  # with empty rows, columns seem to meet less often than they do
    mask = Mask(m, mask.rows)
    rows = [set(r) for r in mask.rows.tolist()]
    depth = int(rng.integers(1, 5))
    *members, v = rng.permutation(n)[: depth + 1].tolist()
    ranks = marginals(rows, [*members, v])
    if min(ranks, key=lambda u: (ranks[u], -u)) != v:
        return None
    earlier = set().union(*(rows[u] for u in members[:-1]))
    met, last_rows = earlier | rows[members[-1]], rows[members[-1]] - earlier
    last_loss = d - len(last_rows)
    before, need = int(rng.integers(1, d + 1)), int(rng.integers(1, d + 1))
    hits = np.array([len(r & met) for r in rows], np.int32)
    asked = [w for w in range(n) if hits[w] >= before and (before <= last_loss or rows[w] & last_rows)]
    queue = np.array([*sorted(asked, key=lambda w: -hits[w]), 0], np.int32)
    multiplicity = np.bincount(mask.rows[[*members, v]].ravel(), minlength=m).astype(np.int32)
    graph = (mask.rows, *mask.row_lists, multiplicity, hits)
    patience = int(rng.integers(0, 20))
    return (
        *graph,
        np.array([*members, v], np.int32),
        depth,
        need,
        queue,
        len(asked),
        before,
        last_loss,
        patience,
    ), rows


def test_dead_ends_are_dead_ends():
    """The claim of the kernel, by its definition: no canonical column follows S + v with the loss that is needed."""
    rng = np.random.default_rng(0)
    dead = 0
    cases = (dead_end_case(rng) for _ in range(20000))
    for arguments, rows in filter(None, cases):
        if not _is_dead_end(*arguments):
            continue
        dead += 1
        members, need = arguments[5].tolist(), arguments[7]
        for w in set(range(len(rows))) - set(members):
            ranks = marginals(rows, [*members, w])
            assert ranks[w] < need or min(ranks, key=lambda u: (ranks[u], -u)) != w
    assert dead > 500


def greatest_loss_by_integer_program(mask, size):
    """max d s - sum_i y_i with y_i >= x_j for i in N(j) and sum_j x_j = s, by branch and bound."""
    m, n, d = mask.m, mask.n, mask.d
    edges = np.arange(n * d)
    system = np.zeros((n * d + 1, n + m))
    system[edges, edges // d] = 1
    system[edges, n + mask.rows.ravel()] = -1
    system[-1, :n] = 1
    limits = LinearConstraint(system, np.r_[np.full(n * d, -np.inf), size], np.r_[np.zeros(n * d), size])
    cost = np.r_[np.zeros(n), np.ones(m)]
    found = milp(cost, constraints=limits, integrality=np.r_[np.ones(n), np.zeros(m)], bounds=Bounds(0, 1))
    assert found.status == 0
    return d * size - round(found.fun)


@pytest.mark.parametrize("seed", range(20))
def test_an_integer_program_agrees(seed):
    mask = uniform_mask(18 + seed % 4 * 3, 24 + seed % 5 * 3, 2 + seed % 4, seed=seed)
    size = 4 + seed % 3
    best = greatest_loss_by_integer_program(mask, size)
    entry = expansion_profile(mask, size).sizes[-1]
    assert entry.lower == entry.upper == mask.d * size - best
    assert losing_set(mask, size, best).status == "found"
    assert losing_set(mask, size, best + 1).status == "none"


# ---- decisions


@given(masks(max_m=9, max_n=8), st.integers(0, 3))
@settings(max_examples=100)
def test_losing_sets_against_enumeration(mask, above):
    for size, largest in enumerate(losses_by_enumeration(mask)):
        if size == 0:
            continue
        for wanted in (largest - 1, largest, largest + 1 + above):
            outcome = losing_set(mask, size, wanted)
            assert outcome.status == ("found" if wanted <= largest else "none")
            if outcome.witness is None:
                assert outcome.status == "none"
            else:
                assert len(outcome.witness) == size
                assert loss(mask, outcome.witness) >= wanted


def test_the_search_finds_what_greedy_does_not(monkeypatch):
    """With a poor start (one root) every decision still is right."""
    monkeypatch.setattr("expander_theory.dictionaries.expansion._FEW_ROOTS", 1)
    for seed in range(40):
        mask = uniform_mask(10 + seed % 9, 13, 2 + seed % 4, seed=seed)
        exact = losses_by_enumeration(mask)
        for size in (3, 4, 5):
            assert losing_set(mask, size, exact[size] + 1).status == "none"
            found = losing_set(mask, size, exact[size])
            assert found.status == "found"
            assert loss(mask, found.witness) == exact[size]


def test_decisions_without_time_are_sound():
    open_ones = 0
    for seed in range(30):
        mask = uniform_mask(14, 12, 4, seed=seed)
        exact = losses_by_enumeration(mask)
        for size in range(1, 9):
            for wanted in (exact[size], exact[size] + 1):
                outcome = losing_set(mask, size, wanted, time_limit=0)
                open_ones += outcome.status == "out_of_time"
                assert outcome.status != ("none" if wanted <= exact[size] else "found")
                assert (outcome.witness is not None) == (outcome.status == "found")
    assert open_ones > 0


def expanding_size_by_enumeration(exact, d, eps):
    """Largest s with eps_s < eps, and whether there are larger sizes."""
    return next((t - 1 for t in range(2, len(exact)) if exact[t] >= eps * d * t), len(exact) - 1)


@given(masks(max_m=9, max_n=8), st.fractions(Fraction(1, 20), 1, max_denominator=20))
@settings(max_examples=150)
def test_expanding_sizes_against_enumeration(mask, eps):
    exact = losses_by_enumeration(mask)
    found = expanding_size(mask, eps)
    assert found.proved == expanding_size_by_enumeration(exact, mask.d, eps)
    assert len(found.by) == found.proved - 1
    if found.proved < mask.n:
        assert found.fails_at == found.proved + 1
        assert loss(mask, found.witness) >= eps * mask.d * found.fails_at
    else:
        assert found.fails_at is None
        assert found.witness is None


@pytest.mark.parametrize("eps", [Fraction(1, 4), Fraction(1, 3), Fraction(2, 5), Fraction(1, 2), Fraction(3, 5)])
def test_expanding_sizes_by_search(monkeypatch, eps):
    """Without help from exact small sizes or from greedy search."""
    monkeypatch.setattr("expander_theory.dictionaries.expansion._SMALL", 1)
    monkeypatch.setattr("expander_theory.dictionaries.expansion._FEW_ROOTS", 1)
    methods = set()
    for seed in range(30):
        mask = uniform_mask(16 + seed, 11, 3 + seed % 3, seed=seed)
        found = expanding_size(mask, eps)
        assert found.proved == expanding_size_by_enumeration(losses_by_enumeration(mask), mask.d, eps)
        methods.update(found.by)
    assert "search" in methods


def test_expanding_sizes_without_time_are_sound():
    short = 0
    for seed in range(30):
        mask = uniform_mask(30, 14, 4, seed=seed)
        truth = expanding_size_by_enumeration(losses_by_enumeration(mask), 4, Fraction(1, 2))
        found = expanding_size(mask, Fraction(1, 2), time_limit=0)
        assert found.proved <= truth
        short += found.proved < truth
        assert "search" not in found.by
        if found.fails_at is not None:
            assert found.fails_at > truth
            assert loss(mask, found.witness) >= Fraction(1, 2) * 4 * found.fails_at
    assert short > 0


def test_a_larger_mask_is_bracketed():
    """The proved size and the size that fails leave a gap, and say how each size was settled."""
    mask = uniform_mask(512, 4096, 7, seed=0)
    found = expanding_size(mask, Fraction(1, 2), time_limit=1)
    assert 4 <= found.proved < found.fails_at
    assert loss(mask, found.witness) >= Fraction(7, 2) * found.fails_at
    assert expanding_size(mask, Fraction(1, 2), max_size=4).proved == 4
    assert expanding_size(mask, Fraction(1, 2), max_size=4).fails_at is None


# ---- known graphs


def projective_plane_by_hand(q):
    """PG(2, q), q prime: points and lines are the lines of GF(q)^3, incident where the product is 0."""
    triples = [(1, a, b) for a in range(q) for b in range(q)] + [(0, 1, a) for a in range(q)] + [(0, 0, 1)]
    lines = [
        [i for i, p in enumerate(triples) if sum(x * y for x, y in zip(p, l, strict=True)) % q == 0] for l in triples
    ]
    return Mask.from_columns(len(triples), lines)


@pytest.mark.parametrize("q", [2, 3, 5, 7])
def test_projective_planes_by_formula(q):
    """Two lines share one point, so s lines lose at most C(s, 2), and s <= q + 1 lines in general position do."""
    mask = projective_plane_by_hand(q)
    assert (mask.row_degrees == q + 1).all()
    assert overlap_counts(mask).tolist() == [0, mask.n * (mask.n - 1) // 2] + [0] * q
    for entry in expansion_profile(mask, 4 if q > 3 else q + 1).sizes:
        fewest = (q + 1) * entry.size - math.comb(entry.size, 2)
        assert entry.lower == entry.upper == fewest
        if math.comb(mask.n, entry.size) < 50_000:
            assert fewest == oracles.least_neighbours(mask.rows.tolist(), entry.size)


def test_both_planes_expand_alike():
    """The library's plane and the one made by hand."""
    for s in (2, 3, 4, 5):
        assert losing_set(projective_plane_mask(7), s, math.comb(s, 2)).status == "found"
        assert losing_set(projective_plane_mask(7), s, math.comb(s, 2) + 1).status == "none"


@pytest.mark.parametrize(("m", "d"), [(5, 2), (6, 3), (7, 3), (6, 4)])
def test_complete_designs(m, d):
    """All d-subsets of m points: s <= C(u, d) columns fit in the least such u, and no fewer rows hold them."""
    mask = Mask(m, np.array(list(itertools.combinations(range(m), d))))
    for entry in expansion_profile(mask, min(mask.n, 7)).sizes:
        u = next(u for u in range(d, m + 1) if math.comb(u, d) >= entry.size)
        assert entry.lower == entry.upper == u


@given(masks(max_m=6, max_n=5), masks(max_m=6, max_n=5))
@settings(max_examples=60)
def test_the_loss_of_a_disjoint_union_is_that_of_the_best_split(one, other):
    if one.d != other.d:
        other = Mask(one.m, one.rows)
    union = Mask(one.m + other.m, np.concatenate([one.rows, other.rows + one.m]))
    left, right = losses_by_enumeration(one), losses_by_enumeration(other)
    for entry in expansion_profile(union, union.n).sizes:
        splits = [
            left[a] + right[entry.size - a]
            for a in range(entry.size + 1)
            if a < len(left) and entry.size - a < len(right)
        ]
        assert union.d * entry.size - entry.upper == max(splits) == union.d * entry.size - entry.lower


@pytest.mark.parametrize("d", [1, 3, 6])
def test_a_repeated_column_halves(d):
    rows = uniform_mask(40, 30, d, seed=0).rows.copy()
    rows[17] = rows[4]
    mask = Mask(40, rows)
    profile = expansion_profile(mask, 2)
    assert profile.ratio_bounds(2) == (Fraction(1, 2), Fraction(1, 2))
    found = expanding_size(mask, Fraction(1, 2))
    assert (found.proved, found.fails_at) == (1, 2)
    assert loss(mask, found.witness) == d
    assert expanding_size(mask, Fraction(51, 100), max_size=2).proved == 2


def test_masks_without_overlap_expand_for_ever():
    found = expanding_size(Mask(300, np.arange(300).reshape(100, 3)), Fraction(1, 100), time_limit=0)
    assert (found.proved, found.fails_at) == (100, None)


def test_polynomial_masks_are_settled_without_search():
    """o = 1: s columns lose at most s (s - 1)/2, less than d s/2 for s <= d."""
    mask = polynomial_mask(31, 8)
    found = expanding_size(mask, Fraction(1, 2), max_size=8, time_limit=0)
    assert found.proved == 8
    assert set(found.by) <= {"overlap", "subset", "transfer"}


# ---- attacks


@given(masks(max_m=9, max_n=8), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_attacks_attain_what_they_claim(mask, seed):
    exact = losses_by_enumeration(mask)
    sizes = list(range(mask.n, 0, -1))
    for entry, size in zip(attack_expansion(mask, sizes, seed=seed, restarts=2), sizes, strict=True):
        assert entry.size == size == len(entry.witness)
        assert loss(mask, entry.witness) == entry.loss <= exact[size]


def test_attacks_find_the_worst_small_sets():
    mask = uniform_mask(64, 128, 7, seed=0)
    exact = expansion_profile(mask, 7).sizes
    for entry in attack_expansion(mask, range(2, 8), seed=0):
        assert entry.loss == 7 * entry.size - exact[entry.size - 1].lower


@pytest.mark.parametrize(("d", "quarter", "half"), [(7, 4, 64), (16, 8, 70), (32, 10, 51)])
def test_attacks_reach_section_f(d, quarter, half):
    """THEORY.md, Section F: eps_4 >= 1/4 and eps_64 >= 1/2 at (2048, 16384, 7); d = 16: 8, 70; d = 32: 10, 51."""
    mask = uniform_mask(2048, 16384, d, seed=0)
    low, high = attack_expansion(mask, [quarter, half], seed=0, restarts=2)
    assert low.loss >= Fraction(d * quarter, 4)
    assert high.loss >= Fraction(d * half, 2)
    assert loss(mask, low.witness) == low.loss
    assert loss(mask, high.witness) == high.loss


def test_swapping_improves_on_greedy_search():
    """d = 7: greedy search needs 58 columns or so to reach eps = 1/2."""
    mask = uniform_mask(2048, 16384, 7, seed=0)
    (found,) = attack_expansion(mask, [52], seed=0)
    assert found.loss >= 7 * 52 / 2
    assert expanding_size(mask, Fraction(1, 2), max_size=52, time_limit=0).fails_at is None


def test_an_attack_is_the_same_for_the_same_seed():
    mask = uniform_mask(100, 300, 5, seed=0)
    first = attack_expansion(mask, [20, 10], seed=3)
    assert first == attack_expansion(mask, [20, 10], seed=3)
    assert first != attack_expansion(mask, [20, 10], seed=4)


# ---- spectra of special masks, by the iterative road


@pytest.mark.parametrize(
    "mask",
    [
        projective_plane_mask(5),
        polynomial_mask(7, 4),
        biregular_mask(30, 60, 4, seed=0),
        uniform_mask(60, 40, 3, seed=0),
        affine_plane_mask(4),
    ],
    ids=lambda mask: mask.recipe,
)
def test_iterative_eigenvalues_agree_with_dense_ones(monkeypatch, mask):
    """Few distinct eigenvalues (planes), constant eigenvectors (biregular), and more rows than columns."""
    forms = "abc" if np.unique(mask.row_degrees).size == 1 else "ab"
    cases = [(s, form) for s in (1, 5, mask.n) for form in forms]
    dense = [spectral_neighbours(mask, s, form=form) for s, form in cases]
    monkeypatch.setattr("expander_theory.dictionaries.spectral._DENSE", 0)
    iterative = [spectral_neighbours(mask, s, form=form) for s, form in cases]
    np.testing.assert_allclose(iterative, dense, rtol=1e-9)
    assert iterative == [spectral_neighbours(mask, s, form=form) for s, form in cases]


# ---- how far it gets


def test_the_experiment_reports_exact_values(monkeypatch, capsys):
    from experiments.theory import expansion_reach

    monkeypatch.setattr(expansion_reach, "EARLIER", {(16, 24): 2, (40, 30): 2})
    reach = expansion_reach.Reach(d=4, seed=1, largest=4)
    for m, n, s, eps, seconds in reach.measure():
        mask = uniform_mask(m, n, 4, seed=1)
        fewest = (oracles.least_neighbours(mask.rows.tolist(), t) for t in range(1, 5))
        assert (s, eps) == (4, max(1 - Fraction(u, 4 * t) for t, u in enumerate(fewest, 1)))
        assert seconds > 0
    reach.run()
    table = capsys.readouterr().out
    assert table.splitlines()[0].split() == ["|", *"m|n|s|eps_s|seconds|s before|".replace("|", " | ").split()]
    assert len(table.splitlines()) == 4


# ---- arguments


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda mask: losing_set(mask, 0, 1), "size"),
        (lambda mask: losing_set(mask, 6, 1), "size"),
        (lambda mask: losing_set(mask, 2, 1.5), "loss"),
        (lambda mask: losing_set(mask, 2, 1, time_limit=-1), "time_limit"),
        (lambda mask: expanding_size(mask, Fraction(0)), "eps"),
        (lambda mask: expanding_size(mask, Fraction(3, 2)), "eps"),
        (lambda mask: expanding_size(mask, Fraction(1, 2), max_size=6), "max_size"),
        (lambda mask: expanding_size(mask, Fraction(1, 2), time_limit=-1), "time_limit"),
        (lambda mask: attack_expansion(mask, [], seed=0), "sizes"),
        (lambda mask: attack_expansion(mask, [2, 6], seed=0), "sizes"),
        (lambda mask: attack_expansion(mask, [2], seed=0, restarts=0), "restarts"),
        (lambda mask: attack_expansion(mask, [2], seed=-1), "seed"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(InvalidArgument) as caught:
        call(uniform_mask(6, 5, 2, seed=0))
    assert caught.value.name == name
