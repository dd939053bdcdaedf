"""Facts and losses that certificates state, against rational arithmetic and enumeration."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from support.cases.certificate_cases import dictionaries, inner, ks, prove, sparse_columns
from support.strategies import masks

from expander_theory import Dictionary, Mask
from expander_theory.certificates._prove import losses as _prove_losses
from expander_theory.certificates._prove.search import sets_visited, thresholds
from expander_theory.dictionaries.geometry import column_overlaps
from expander_theory.dictionaries.values import gaussian_dictionary, sign_dictionary
from expander_theory.masks import (
    affine_plane_mask,
    complete_graph_mask,
    disjoint_union,
    generalised_quadrangle_mask,
    polynomial_mask,
    uniform_mask,
)


def collisions(mask, chosen):
    return mask.d * len(chosen) - len(set(mask.rows[list(chosen)].ravel().tolist()))


def largest_loss(mask, size):
    return max(collisions(mask, chosen) for chosen in itertools.combinations(range(mask.n), size))


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
