"""The prover of certificates: its facts against enumeration, and its claims against the truth, in exact rationals."""

import hashlib
import itertools
import json
import math
from fractions import Fraction

import flint
import numpy as np
import pytest
import scipy.optimize
from flint import fmpq, fmpq_mat
from hypothesis import given, settings, strategies as st
from support.strategies import masks

from expander_theory import Dictionary, Mask
from expander_theory.base.errors import InvalidArgument, InvalidFile
from expander_theory.certificates._prove import losses as _prove_losses
from expander_theory.certificates._prove.search import sets_visited, thresholds
from expander_theory.certificates.claims import CLAIMS
from expander_theory.certificates.prove import certify, write_certificate
from expander_theory.commands.theory.certify import Certify
from expander_theory.dictionaries.dictionary import DenseDictionary
from expander_theory.dictionaries.geometry import column_overlaps
from expander_theory.dictionaries.values import flat_dictionary, gaussian_dictionary, sign_dictionary
from expander_theory.masks import (
    affine_plane_mask,
    complete_graph_mask,
    disjoint_union,
    generalised_quadrangle_mask,
    polynomial_mask,
    save_mask,
    uniform_mask,
)

HALF = Fraction(1, 2)


def prove(dictionary, **options):
    return certify(dictionary, progress=False, **options)


def ks(certificate):
    return {claim["theorem"]: claim["k"] for claim in certificate["claims"]}


@st.composite
def dictionaries(draw, **sizes):
    """Tiny dictionaries of every kind of value: signs, small integers, zeros, floats of wild exponents."""
    mask = draw(masks(**sizes))
    signed = st.sampled_from([-1.0, 1.0])
    wild = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True)
    huge = st.floats(-1e150, 1e150) | st.floats(-1e-150, 1e-150)
    kind = draw(st.sampled_from(["signs", "ones", "integers", "wild", "huge"]))
    entry = {"signs": signed, "ones": st.just(0.3), "integers": st.integers(-3, 3), "wild": wild, "huge": huge}[kind]
    column = st.lists(entry, min_size=mask.d, max_size=mask.d).filter(any)
    values = np.array(draw(st.lists(column, min_size=mask.n, max_size=mask.n)), float)
    return Dictionary(mask, values.astype(np.float32) if kind == "wild" else values)


def sparse_columns(dictionary):
    rows, values = dictionary.mask.rows.tolist(), dictionary.values.tolist()
    return [dict(zip(r, map(Fraction, v), strict=True)) for r, v in zip(rows, values, strict=True)]


def inner(u, v):
    return sum((u[i] * v[i] for i in u.keys() & v.keys()), Fraction(0))


def collisions(mask, chosen):
    return mask.d * len(chosen) - len(set(mask.rows[list(chosen)].ravel().tolist()))


def largest_loss(mask, size):
    return max(collisions(mask, chosen) for chosen in itertools.combinations(range(mask.n), size))


# ---- facts


@given(dictionaries())
def test_facts_of_values_are_those_of_rational_arithmetic(dictionary):
    facts, columns, d = prove(dictionary, time_limit=0)["facts"], sparse_columns(dictionary), dictionary.d
    norms = [inner(w, w) for w in columns]
    peaks = [max(map(abs, w.values())) for w in columns]
    flat = [d * peak**2 / norm for peak, norm in zip(peaks, norms, strict=True)]
    beta = [d * peak / sum(map(abs, w.values())) for peak, w in zip(peaks, columns, strict=True)]
    assert facts["norms"] == {
        "least": str(min(norms)),
        "least_column": norms.index(min(norms)),
        "largest": str(max(norms)),
        "largest_column": norms.index(max(norms)),
    }
    assert facts["flatness"] == {
        "C_squared": str(max(flat)),
        "C_column": flat.index(max(flat)),
        "beta": str(max(beta)),
        "beta_column": beta.index(max(beta)),
    }
    zeros = [j for j, w in enumerate(columns) for value in w.values() if value == 0]
    assert facts["zeros"] == {"count": len(zeros), "first_column": zeros[0] if zeros else None}
    entries = {value for w in columns for value in w.values()}
    assert facts["binary"] == (len(entries) == 1 and min(entries) > 0)


@given(dictionaries())
def test_gram_sums_are_exact_and_first_attained_where_they_say(dictionary):
    check_gram(dictionary)


def check_gram(dictionary):
    gram, columns = prove(dictionary, time_limit=0)["facts"]["gram"], sparse_columns(dictionary)
    least = min(inner(w, w) for w in columns)
    sums, first = ["0"], [None]
    for k in range(1, dictionary.n):
        by_column = [
            sum(sorted((abs(inner(w, v)) for l, v in enumerate(columns) if l != j), reverse=True)[:k])
            for j, w in enumerate(columns)
        ]
        sums.append(str(max(by_column)))
        first.append(by_column.index(max(by_column)))
        if max(by_column) >= least:
            break
    assert gram == {"sums": sums, "columns": first}


@pytest.mark.parametrize("bits", [20, 24, 26, 40, 53])
def test_gram_sums_of_integers_too_large_for_floats(bits):
    rng = np.random.default_rng(bits)
    mask = complete_graph_mask(6)
    values = rng.integers(2 ** (bits - 1), 2**bits, mask.rows.shape) * rng.choice([-1.0, 1.0], mask.rows.shape)
    check_gram(Dictionary(mask, values))
    check_gram(Dictionary(disjoint_union(mask, mask), np.concatenate([values, values + 1])))


@pytest.mark.parametrize("seed", range(6))
def test_gram_sums_that_tie_but_round_differently(seed):
    """A copy with the rows in reverse order has the same sums; floats add them up in another order."""
    base = gaussian_dictionary(uniform_mask(9, 6, 7, seed=seed), seed=seed)
    rows = np.concatenate([base.mask.rows, 17 - base.mask.rows[:, ::-1]])
    check_gram(Dictionary(Mask(18, rows), np.concatenate([base.values, base.values[:, ::-1]])))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gram_sums_of_a_dictionary_of_many_ties(dtype):
    """Columns repeated with other signs tie exactly: the first one is named, whatever floats make of the sums."""
    base = gaussian_dictionary(uniform_mask(40, 30, 4, seed=3), seed=3).astype(dtype)
    rows = np.concatenate([base.mask.rows, base.mask.rows[::-1]])
    dictionary = Dictionary(Mask(40, rows), np.concatenate([base.values, -base.values[::-1]]))
    gram = prove(dictionary, time_limit=0)["facts"]["gram"]
    norms = [inner(w, w) for w in sparse_columns(dictionary)]
    assert gram["sums"] == ["0", str(max(norms))]  # a column and its negative
    assert gram["columns"] == [None, norms.index(max(norms))]


@given(masks())
def test_overlap_pair_and_triangles(mask):
    facts = prove(Dictionary(mask, np.ones(mask.rows.shape)), time_limit=0)["facts"]
    rows = [set(column) for column in mask.rows.tolist()]
    shared = {(j, l): rows[j] & rows[l] for j, l in itertools.combinations(range(mask.n), 2)}
    o = max(map(len, shared.values()), default=0)
    pair = next((list(pair) for pair, common in shared.items() if len(common) == o), None)
    assert facts["overlap"] == {"largest": o, "pair": pair}
    triangle = any(
        len({x, y, z}) == 3
        for i, j, l in itertools.combinations(range(mask.n), 3)
        for x, y, z in itertools.product(shared[i, j], shared[i, l], shared[j, l])
    )
    assert facts["triangle_free"] == (None if o >= 2 else not triangle)


@pytest.mark.parametrize(
    ("mask", "free"),
    [
        (generalised_quadrangle_mask(2, 4), True),
        (disjoint_union(generalised_quadrangle_mask(2, 2), affine_plane_mask(3)), False),
        (complete_graph_mask(3), False),
        (polynomial_mask(5, 2), True),
    ],
)
def test_triangles_of_known_masks(mask, free):
    assert prove(sign_dictionary(mask, seed=0), time_limit=0)["facts"]["triangle_free"] is free


# ---- losses


def rule_value(mask, t, entry, u):
    """The value of the rule that an entry names, literally; u[s] = U_s."""
    d, by = mask.d, entry["by"]
    if by == "overlap":
        rows = [set(column) for column in mask.rows.tolist()]
        shared = [sorted((len(a & b) for l, b in enumerate(rows) if l != j), reverse=True) for j, a in enumerate(rows)]
        o = max((s[0] for s in shared if s), default=0)
        strongest = sorted((sum(s[: t - 1]) for s in shared), reverse=True)[:t]
        return min(
            d * t - sum(max(0, d - o * i) for i in range(t)),
            d * t - math.ceil(Fraction(d * d * t, d + o * (t - 1))),
            sum(strongest) // 2,
            d * (t - 1),
        )
    if by == "transfer":
        s = entry["from"]
        assert 2 <= s < t
        return math.floor(Fraction(u[s] * t * (t - 1), s * (s - 1)))
    assert by == "subset" or (by == "single" and t == 1)
    return u[t - 1] + d if by == "subset" else 0


@given(masks(max_m=12, max_n=9), st.sampled_from([0, 60]))
def test_losses_bound_every_set_by_the_rule_they_name(mask, time_limit):
    losses = prove(Dictionary(mask, np.ones(mask.rows.shape)), time_limit=time_limit)["facts"]["losses"]
    u = [0] + [entry["loss"] for entry in losses]
    assert [entry["size"] for entry in losses] == list(range(1, len(losses) + 1))
    for t, entry in enumerate(losses, 1):
        true = largest_loss(mask, t)
        assert u[t] >= true
        if entry["by"] == "search":
            assert time_limit > 0
            rules = [{"by": "overlap"}, {"by": "subset"}, *({"by": "transfer", "from": s} for s in range(2, t))]
            assert all(rule_value(mask, t, rule, u) > u[t] for rule in rules)
        else:
            assert u[t] == rule_value(mask, t, entry, u)
        if time_limit and 2 * true < mask.d * t:
            assert u[t] == true  # searches settle so small a mask
        assert (entry["from"] is None) == (entry["by"] != "transfer")
        if entry["witness"] is not None:
            assert entry["witness"] == sorted(set(entry["witness"]))
            assert len(entry["witness"]) == t
            assert collisions(mask, entry["witness"]) == u[t]
        last = t == len(losses)
        assert last == (2 * u[t] >= mask.d * t or t == min(mask.n, 512))


def test_searches_prove_more_than_pairwise_overlaps():
    mask = uniform_mask(60, 100, 5, seed=1)
    with_search, without = (prove(sign_dictionary(mask, seed=1), time_limit=limit) for limit in (60, 0))
    assert {entry["by"] for entry in without["facts"]["losses"]} <= {"single", "overlap", "subset", "transfer"}
    searched = [entry for entry in with_search["facts"]["losses"] if entry["by"] == "search"]
    assert searched[0]["size"] == 3
    assert searched[0]["loss"] == largest_loss(mask, 3)
    assert ks(with_search)["IDN-1"] > ks(without)["IDN-1"]


@settings(max_examples=20)
@given(masks(max_m=12, max_n=9))
def test_searches_do_not_rest_on_greedy_search(mask):
    def first_columns(self, size):
        return _prove_losses._Found(collisions(mask, range(size)), tuple(range(size)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_prove_losses._Greedy, "__call__", first_columns)
        losses = prove(Dictionary(mask, np.ones(mask.rows.shape)))["facts"]["losses"]
        unsearched = prove(Dictionary(mask, np.ones(mask.rows.shape)), time_limit=0)["facts"]["losses"]
    for entry in losses:
        true = largest_loss(mask, entry["size"])
        assert entry["loss"] == true or entry["loss"] > true >= mask.d * entry["size"] / 2
    for entry in [*losses, *unsearched]:
        assert entry["witness"] is None or collisions(mask, entry["witness"]) == entry["loss"]


def test_losses_end_at_512():
    mask = disjoint_union(*[Mask(2, np.array([[0, 1]]))] * 600)
    certificate = prove(Dictionary(mask, np.ones((600, 2))))
    assert len(certificate["facts"]["losses"]) == 512
    assert len(certificate["facts"]["gram"]["sums"]) == 513
    k = ks(certificate)
    assert (k["IDN-1"], k["STAB-3"], k["OMP-2"], k["OMP-7u"]) == (256, 256, 0, 0)  # norms 2: no unit columns
    assert k["EXP-10"] == 300
    assert k["MED-1 overlap"] == 600
    by_theorem = {claim["theorem"]: claim for claim in certificate["claims"]}
    assert by_theorem["IDN-1"]["at_next"] is None
    assert by_theorem["MED-1 expansion"]["k"] == 511
    assert by_theorem["EXP-10"]["at_next"] == {"left": "602", "right": "601", "slack": "-1"}


def test_visited_sets_are_about_as_many_as_there_are():
    mask = uniform_mask(30, 24, 4, seed=5)
    for size, loss in [(3, 4), (4, 5), (5, 7), (6, 9)]:
        needed = thresholds(size, loss)
        true = sum(
            collisions(mask, chosen) >= needed[i]
            for i in range(2, size)
            for chosen in itertools.combinations(range(mask.n), i)
        )
        estimate = sets_visited(mask, column_overlaps(mask), size, loss, 1e9)
        assert 0.8 * true <= estimate <= 1.25 * true
        assert sets_visited(mask, column_overlaps(mask), size, loss, true / 2) >= true / 2


@given(masks(max_n=7), st.data())
def test_every_losing_set_is_reached_by_the_thresholds(mask, data):
    size = data.draw(st.integers(1, mask.n))
    chosen = data.draw(st.permutations(range(mask.n)))[:size]
    needed = thresholds(size, collisions(mask, chosen))
    while len(chosen) > 1:
        chosen = max(itertools.combinations(chosen, len(chosen) - 1), key=lambda smaller: collisions(mask, smaller))
        assert collisions(mask, chosen) >= needed[len(chosen)]


# ---- claims


def condition(theorem, facts, n, d, r, k):
    """left < right of FORMAT.md, literally; None where the facts end."""
    losses = {entry["size"]: entry["loss"] for entry in facts["losses"]}
    sums = [Fraction(total) for total in facts["gram"]["sums"]]
    least, c2 = Fraction(facts["norms"]["least"]), Fraction(facts["flatness"]["C_squared"])
    beta, o = Fraction(facts["flatness"]["beta"]), facts["overlap"]["largest"]

    def e(s):
        s = min(s, n)
        known = [Fraction(losses[t], d * t) for t in range(2, min(s, len(losses)) + 1)]
        value = max(known, default=Fraction(0))
        return value if s <= len(losses) or value >= HALF else math.nan

    def a(count):
        count = min(count, n - 1)
        if count < len(sums):
            return sums[count]
        return sums[-1] if sums[-1] >= least else math.nan

    distance = n + 1 if o == 0 else 2 * d if facts["triangle_free"] and d >= 2 else d + 1
    threshold = Fraction(16, (k + 4) ** 2) if k < 4 else Fraction(1, k)
    left, right = {
        "IDN-1": lambda: (e(2 * k), HALF),
        "EXP-10": lambda: (2 * k, distance),
        "IDN-1z": lambda: (2 * c2 * e(2 * k), 1),
        "STAB-3": lambda: (a(2 * k - 1), least),
        "OMP-2": lambda: ((2 * k - 1) * a(1), least),
        "OMP-3": lambda: (a(k) + a(k - 1), least),
        "OMP-5": lambda: (c2 * ((k + 1) * e(k + 1) + k * e(k)), 1),
        "OMP-7u": lambda: ((a(k) / least) ** 2, threshold),
        "PAPER-OMP": lambda: (c2 * (2 * k + 1) * e(k + 1), 1),
        "TOPK-1": lambda: (r * (a(k) + a(k - 1)), least),
        "NSP-2": lambda: (beta * e(2 * k), Fraction(1, 4)),
        "L1-ERC": lambda: (a(k) + a(k - 1), least),
        "L0-1": lambda: (e(k), (1 - Fraction(1, d)) / 2),
        "L0-2": lambda: (o, (1 - 2 * e(k)) * d),
        "MED-1 overlap": lambda: (o * k, Fraction(d, 2)),
        "MED-1 expansion": lambda: ((k + 1) * e(k + 1), HALF),
    }[theorem]()
    return None if math.nan in (left, right) or left != left or right != right else (left, right)


@given(dictionaries(), st.sampled_from([Fraction(1), Fraction(3, 2)]))
def test_claims_name_the_largest_k(dictionary, r):
    check_conditions(dictionary, prove(dictionary, dynamic_range=r), r)


def check_conditions(dictionary, certificate, r):
    assert [claim["theorem"] for claim in certificate["claims"]] == [claim.theorem for claim in CLAIMS]
    for claim in certificate["claims"]:
        if claim["refused"] is not None:
            assert (claim["k"], claim["at_k"], claim["at_next"]) == (0, None, None)
            continue
        k = claim["k"]
        sides = [
            condition(claim["theorem"], certificate["facts"], dictionary.n, dictionary.d, r, i)
            for i in range(1, dictionary.n + 1)
        ]
        assert [s is not None and s[0] < s[1] for s in sides] == [i < k for i in range(dictionary.n)]
        shown = [
            None if s is None else {"left": str(s[0]), "right": str(s[1]), "slack": str(Fraction(s[1] - s[0]))}
            for s in [None, *sides, None]
        ]
        assert claim["at_k"] == shown[k]
        assert claim["at_next"] == shown[k + 1]


def independent(columns, chosen):
    rows = sorted({i for j in chosen for i in columns[j]})
    entries = [[fmpq(*columns[j].get(i, Fraction(0)).as_integer_ratio()) for i in rows] for j in chosen]
    return len(chosen) <= len(rows) and fmpq_mat(entries).rank() == len(chosen)


def recovery_constant(columns, chosen):
    """ERC(S) = max_{j not in S} ||W_S^+ w_j||_1, exactly."""
    gram = fmpq_mat([[fmpq(*inner(columns[i], columns[j]).as_integer_ratio()) for j in chosen] for i in chosen])
    worst = Fraction(0)
    for j in set(range(len(columns))) - set(chosen):
        right = fmpq_mat([[fmpq(*inner(columns[i], columns[j]).as_integer_ratio())] for i in chosen])
        solution = gram.solve(right)
        worst = max(worst, sum(Fraction(int(abs(x).p), int(x.q)) for x in solution.entries()))
    return worst


def activation(columns, code):
    h = {}
    for j, x in code.items():
        for i, w in columns[j].items():
            h[i] = h.get(i, 0) + w * x
    return h


def supports(n, k, limit=300):
    sets = list(itertools.combinations(range(n), k))
    return sets[:: max(1, len(sets) // limit)]


def check_identifiability(dictionary, columns, k, r):
    for chosen in supports(dictionary.n, min(2 * k, dictionary.n)):
        assert independent(columns, chosen)


def check_omp(dictionary, columns, k, r):
    for chosen in supports(dictionary.n, min(k, dictionary.n - 1)):  # OMP-1m: smaller ones follow; all say nothing
        assert recovery_constant(columns, chosen) < 1


def check_topk(dictionary, columns, k, r):
    """Correlations are linear in every modulus: only codes with moduli 1 and r need a look."""
    for chosen in supports(dictionary.n, k, 60):
        for moduli in itertools.product([Fraction(1), r, Fraction(-1), -r], repeat=k):
            h = activation(columns, dict(zip(chosen, moduli, strict=True)))
            c = [inner(w, h) for w in columns]
            inside = min(c[j] * (1 if x > 0 else -1) for j, x in zip(chosen, moduli, strict=True))
            assert inside > max((abs(c[j]) for j in range(dictionary.n) if j not in chosen), default=-1)


def check_l1(dictionary, columns, k, r):
    dense = dictionary.to_dense().astype(float)
    dense = dense / np.abs(dense).max(axis=0)
    dense = dense / np.abs(dense).sum(axis=0)  # in z_j ||w_j||_1 the weights are 1
    for chosen in supports(dictionary.n, k, 20):
        for signs in itertools.product([1.0, -1.0], repeat=k):  # the moduli do not matter (NSP-3)
            x = np.zeros(dictionary.n)
            x[list(chosen)] = signs
            solved = scipy.optimize.linprog(np.ones(2 * dictionary.n), A_eq=np.hstack([dense, -dense]), b_eq=dense @ x)
            assert np.allclose(solved.x[: dictionary.n] - solved.x[dictionary.n :], x, atol=1e-6)


def check_plain_l1(dictionary, columns, k, r):
    """For every support and signs s, some y has W_S^T y = s and |<w_j, y>| < 1 outside: x is the only minimiser."""
    for chosen in supports(dictionary.n, k, 60):
        assert independent(columns, chosen)
        gram = flint.fmpq_mat(k, k, [flint_rational(inner(columns[i], columns[j])) for i in chosen for j in chosen])
        inverse = gram.inv()
        for signs in itertools.product([1, -1], repeat=k):
            dual = inverse * flint.fmpq_mat(k, 1, [flint.fmpq(s) for s in signs])
            weights = [Fraction(int(dual[i, 0].p), int(dual[i, 0].q)) for i in range(k)]
            y = activation(columns, dict(zip(chosen, weights, strict=True)))
            assert all(abs(inner(w, y)) < 1 for j, w in enumerate(columns) if j not in chosen)


def flint_rational(value):
    return flint.fmpq(value.numerator, value.denominator)


def check_l0(theorem):
    def check(dictionary, columns, k, r):
        rows = [set(column) for column in dictionary.mask.rows.tolist()]
        if theorem == "L0-1":  # 2-peelable
            for size in range(1, k + 1):
                for chosen in supports(dictionary.n, size):
                    private = [len(rows[j] - set().union(*(rows[l] for l in chosen if l != j))) for j in chosen]
                    assert max(private) >= 2
            return
        o = max((len(a & b) for a, b in itertools.combinations(rows, 2)), default=0)
        for chosen in supports(dictionary.n, k, 60):
            code = {j: Fraction((-2) ** p) for p, j in enumerate(chosen)}  # all subset sums are distinct
            residual, decoded = activation(columns, code), {}
            for _ in range(k):
                for j, w in enumerate(columns):
                    ratios = [residual.get(i, 0) / value for i, value in w.items()]
                    for value in set(ratios) - {0}:
                        if ratios.count(value) >= o + 1:
                            decoded[j] = decoded.get(j, 0) + value
                            for i in w:
                                residual[i] = residual.get(i, 0) - w[i] * value
                            break
            assert decoded == code

    return check


def check_median(dictionary, columns, k, r):
    rng = np.random.default_rng(0)
    for chosen in supports(dictionary.n, k, 60):
        code = {j: Fraction(int(rng.integers(1, 9)) * 10 ** int(rng.integers(0, 4))) for j in chosen}
        h = activation(columns, code)
        for j, w in enumerate(columns):
            ratios = sorted(h.get(i, 0) / value for i, value in w.items())
            assert ratios[(dictionary.d - 1) // 2] == ratios[dictionary.d // 2] == code.get(j, 0)


TRUTH = {
    "IDN-1": check_identifiability,
    "EXP-10": check_identifiability,
    "IDN-1z": check_identifiability,
    "STAB-3": check_identifiability,
    "OMP-2": check_omp,
    "OMP-3": check_omp,
    "OMP-5": check_omp,
    "OMP-7u": check_omp,
    "PAPER-OMP": check_omp,
    "TOPK-1": check_topk,
    "NSP-2": check_l1,
    "L1-ERC": check_plain_l1,
    "L0-1": check_l0("L0-1"),
    "L0-2": check_l0("L0-2"),
    "MED-1 overlap": check_median,
    "MED-1 expansion": check_median,
}


def check_claims(dictionary, certificate, r):
    columns = sparse_columns(dictionary)
    for check in set(TRUTH.values()):
        k = max(k for theorem, k in ks(certificate).items() if TRUTH[theorem] is check)
        if k:
            check(dictionary, columns, k, r)


@settings(max_examples=150)
@given(dictionaries(max_m=12, max_n=6))
def test_claims_hold_on_tiny_dictionaries(dictionary):
    check_claims(dictionary, prove(dictionary, dynamic_range=Fraction(3, 2)), Fraction(3, 2))


@given(masks(max_m=12, max_n=6), st.integers(0, 2**32), st.sampled_from([sign_dictionary, gaussian_dictionary]))
def test_claims_hold_on_tiny_unit_dictionaries(mask, seed, values):
    dictionary = values(mask, seed=seed)
    check_claims(dictionary, prove(dictionary, dynamic_range=Fraction(5, 4)), Fraction(5, 4))


def positive(mask, seed):
    return Dictionary(mask, np.full(mask.rows.shape, 0.5))


@pytest.mark.parametrize("values", [sign_dictionary, gaussian_dictionary, positive])
@pytest.mark.parametrize(
    "mask", [complete_graph_mask(8), affine_plane_mask(4), polynomial_mask(5, 5, n=14), uniform_mask(40, 12, 6, seed=8)]
)
def test_claims_hold_where_they_go_beyond_one(mask, values):
    dictionary = values(mask, seed=1)
    certificate = prove(dictionary)
    assert max(ks(certificate).values()) >= 2
    check_conditions(dictionary, certificate, Fraction(1))
    check_claims(dictionary, certificate, Fraction(1))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_complete_graphs_stop_one_short(k):
    """Signed K_{2k}: eps_{2k} = 1/2 and mu = 1/(2k - 1), its 2k columns are dependent."""
    mask = complete_graph_mask(2 * k)
    values = np.empty(mask.rows.shape)
    values.ravel()[np.argsort(mask.rows.ravel(), kind="stable")] = np.tile([1.0, -1.0], mask.m)
    dictionary = Dictionary(mask, values).normalised()
    certificate = prove(dictionary)
    found = ks(certificate)
    expected = ["IDN-1", "EXP-10", "STAB-3", "OMP-2", "OMP-3"] if k > 1 else ["IDN-1", "EXP-10"]
    assert {theorem: found[theorem] for theorem in expected} == dict.fromkeys(expected, k - 1)
    assert certificate["claims"][0]["at_next"] == {"left": "1/2", "right": "1/2", "slack": "0"}
    assert not independent(sparse_columns(dictionary), range(2 * k))


def test_known_answers_of_the_polynomial_mask():
    certificate = prove(sign_dictionary(polynomial_mask(16, 6), seed=0))
    assert certificate["facts"]["overlap"] == {"largest": 1, "pair": [0, 16]}
    assert certificate["facts"]["triangle_free"] is False
    found = ks(certificate)
    assert found["EXP-10"] == 3  # 2k < d + 1
    assert found["OMP-2"] == 3  # 2k - 1 < d
    assert found["MED-1 overlap"] == 2  # k < d/2
    assert found["L0-2"] == 0  # values of both signs
    assert ks(prove(sign_dictionary(generalised_quadrangle_mask(2, 4), seed=0)))["EXP-10"] == 2  # 2k < 2d = 6


def test_repeated_columns_certify_nothing():
    mask = Mask(6, np.array([[0, 1, 2], [0, 1, 2], [3, 4, 5]]))
    certificate = prove(Dictionary(mask, np.ones((3, 3))).normalised())
    assert {k for theorem, k in ks(certificate).items() if TRUTH[theorem] is check_identifiability} == {0}
    assert certificate["claims"][0]["at_next"] == {"left": "1/2", "right": "1/2", "slack": "0"}
    assert certificate["claims"][1]["refused"] == "needs overlap at most 1: columns 0 and 1 share 3 rows"


def test_a_single_column():
    certificate = prove(Dictionary(Mask(3, np.array([[0, 2]])), np.array([[0.6, 0.8]])))
    assert certificate["facts"]["gram"] == {"sums": ["0"], "columns": [None]}
    assert certificate["facts"]["overlap"] == {"largest": 0, "pair": None}
    assert [entry["loss"] for entry in certificate["facts"]["losses"]] == [0]
    assert ks(certificate) == dict.fromkeys(TRUTH, 1) | {"EXP-10": 0, "L0-2": 0}


# ---- refusals


def test_refusals_name_the_first_offender():
    mask = Mask(8, np.array([[0, 1, 2], [2, 3, 4], [3, 4, 5], [3, 4, 6]]))
    values = np.array([[1.0, 0, 0], [0.6, 0.8, 0.01], [0.6, 0, 0.8], [0.6, 0.8, 0.02]])
    refused = {claim["theorem"]: claim["refused"] for claim in prove(Dictionary(mask, values))["claims"]}
    full, unit = "needs a full mask: column 0 has a zero entry", "needs unit columns: column 3 has squared norm 1.0004"
    for theorem in ("IDN-1", "EXP-10", "L0-1", "MED-1 overlap", "MED-1 expansion"):
        assert refused[theorem] == full
    for theorem in ("OMP-2", "OMP-3", "OMP-5", "OMP-7u", "PAPER-OMP", "TOPK-1"):
        assert refused[theorem] == unit
    assert refused["L0-2"] == "needs equal positive values"
    assert refused["IDN-1z"] is refused["STAB-3"] is refused["NSP-2"] is refused["L1-ERC"] is None


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ([1.0, 1e-2], None),  # 1 + 1e-4
        ([1.0, math.sqrt(2e-4)], "1.0002"),  # the float is a little above the root of 2e-4
        ([1.0, np.nextafter(math.sqrt(2e-4), 0)], None),
        ([0.9998, 0.0], "0.9996"),
        ([1.0, 4e-320], None),
        ([1e200, 0.0], "inf"),
        ([1e-200, 0.0], "0"),
    ],
)
def test_unit_columns_are_decided_exactly(values, refused):
    exactly = sum(Fraction(value) ** 2 for value in values)
    assert (abs(exactly - 1) > Fraction(2, 10000)) == (refused is not None)
    dictionary = Dictionary(Mask(4, np.array([[0, 1], [2, 3]])), np.array([[1.0, 0.0], values]))
    found = {claim["theorem"]: claim["refused"] for claim in prove(dictionary)["claims"]}["OMP-2"]
    assert found == (refused and f"needs unit columns: column 1 has squared norm {refused}")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"dynamic_range": Fraction(1, 2)}, "dynamic_range"),
        ({"dynamic_range": 1.5}, "dynamic_range"),
        ({"time_limit": -1}, "time_limit"),
        ({"time_limit": math.nan}, "time_limit"),
    ],
)
def test_wrong_arguments_are_named(options, name):
    with pytest.raises(InvalidArgument, match=name):
        prove(sign_dictionary(complete_graph_mask(4), seed=0), **options)


def test_dense_dictionaries_are_refused():
    with pytest.raises(InvalidArgument, match="masked"):
        prove(DenseDictionary(np.eye(3)))


# ---- the value and the file


@given(dictionaries())
def test_certificates_are_deterministic_hashed_and_survive_json(dictionary):
    certificate = prove(dictionary)
    assert certificate == prove(Dictionary(Mask(dictionary.m, dictionary.mask.rows), dictionary.values))
    assert json.loads(json.dumps(certificate)) == certificate
    assert (certificate["format"], certificate["version"]) == ("expander-certificate", 2)
    assert certificate["dictionary"] == {
        "sha256": dictionary.sha256,
        "m": dictionary.m,
        "n": dictionary.n,
        "d": dictionary.d,
    }
    content = {name: value for name, value in certificate.items() if name != "sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert certificate["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_files_are_indented_json(tmp_path):
    certificate = prove(flat_dictionary(uniform_mask(30, 20, 4, seed=2), flatness=1.5, seed=2))
    path = tmp_path / "folder" / "certificate.json"
    write_certificate(certificate, path)
    assert json.loads(path.read_text()) == certificate
    assert path.read_text().startswith('{\n  "format": "expander-certificate",\n')


def test_the_command(tmp_path, capsys):
    dictionary = sign_dictionary(polynomial_mask(7, 7), seed=0)
    source, out = tmp_path / "dictionary.safetensors", tmp_path / "certificate.json"
    dictionary.save(source)
    Certify(source, out, dynamic_range="1.5").run()
    shown = capsys.readouterr().out
    assert json.loads(out.read_text()) == prove(dictionary, dynamic_range=Fraction(3, 2))
    assert "identifiability: k = 4 by IDN-1, IDN-1z (every k-sparse code is the only" in shown
    assert "needs equal positive values" in shown
    assert str(out) in shown
    with pytest.raises(InvalidFile, match="--force"):
        Certify(source, out).run()
    Certify(source, out, dynamic_range="3/2", force=True).run()
    assert json.loads(out.read_text())["dynamic_range"] == "3/2"


def test_the_command_says_where_nothing_is_certified(tmp_path, capsys):
    Dictionary(Mask(1, np.array([[0], [0]])), np.ones((2, 1))).save(tmp_path / "d")
    Certify(tmp_path / "d", tmp_path / "c.json").run()
    shown = capsys.readouterr().out
    for goal in ("identifiability", "OMP", "TopK encoder", "l1", "l0 decoding"):
        assert f"{goal}: no theorem here certifies anything, not even for k = 1" in shown


@pytest.mark.parametrize("text", ["a half", "1/0", "-2", "0.5", "1e3", "nan", "2/", ""])
def test_the_command_names_a_wrong_dynamic_range(tmp_path, text):
    with pytest.raises(InvalidArgument, match="dynamic-range"):
        Certify(tmp_path / "d", tmp_path / "c.json", dynamic_range=text).run()


def test_the_command_refuses_masks_and_dense_dictionaries(tmp_path):
    save_mask(complete_graph_mask(4), tmp_path / "mask")
    with pytest.raises(InvalidFile, match="mask without values"):
        Certify(tmp_path / "mask", tmp_path / "c.json").run()
    DenseDictionary(np.eye(3)).save(tmp_path / "dense")
    with pytest.raises(InvalidFile, match="dense"):
        Certify(tmp_path / "dense", tmp_path / "c.json").run()
    assert not (tmp_path / "c.json").exists()


def test_babel_sums_prove_more_for_l1_than_expansion_does():
    """THEORY.md L1-ERC: k = 4 where NSP-2 gives 2."""
    found = ks(prove(sign_dictionary(polynomial_mask(q=64, d=8), seed=0), time_limit=1.0))
    assert (found["NSP-2"], found["L1-ERC"]) == (2, 4)
