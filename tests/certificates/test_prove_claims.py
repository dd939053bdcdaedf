"""Claims of certificates: the largest k of each condition, and the truth of each on tiny dictionaries."""

import itertools
import math
from fractions import Fraction

import flint
import numpy as np
import pytest
import scipy.optimize
from flint import fmpq, fmpq_mat
from hypothesis import given, settings, strategies as st
from support.cases.certificate_cases import dictionaries, inner, ks, prove, sparse_columns
from support.strategies import masks

from expander_theory import Dictionary, Mask
from expander_theory.certificates._claims import CLAIMS
from expander_theory.dictionaries.values import gaussian_dictionary, sign_dictionary
from expander_theory.masks import (
    affine_plane_mask,
    complete_graph_mask,
    generalised_quadrangle_mask,
    polynomial_mask,
    uniform_mask,
)

HALF = Fraction(1, 2)


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
