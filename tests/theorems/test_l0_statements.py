"""Peeling and agreement decoders against their definitions, and the statements of section D by hand."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from support.cases.statement_cases import COMPLETE_4, KNOWN, holds, refuted_by
from support.strategies import masks

from expander_theory import Dictionary, InvalidArgument, Mask
from expander_theory.statistics.reference_curves import (
    peeling_step,
    peeling_threshold,
)
from expander_theory.theorems._statements.decoders import agreement_decode, is_peelable
from expander_theory.theorems._statements.l0_decoding import Peeling
from expander_theory.theorems.case import Case

FOUR_CYCLE = Mask.from_columns(4, [[0, 1], [2, 3], [0, 2], [1, 3]])


def ones(mask, code, k=None):
    code = np.array(code, float)
    return Case(Dictionary(mask, np.ones(mask.rows.shape)), k or int(np.count_nonzero(code)), code)


def random_code(mask, data):
    """Random integers on the mask, a code, and its activation."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    values = [[Fraction(int(v)) for v in w] for w in rng.integers(1, 2**40, mask.rows.shape)]
    size = data.draw(st.integers(1, mask.n))
    code = [Fraction(0)] * mask.n
    for j in rng.permutation(mask.n)[:size]:
        code[j] = Fraction(int(rng.integers(1, 2**40)))
    h = [Fraction(0)] * mask.m
    for j, i in itertools.product(range(mask.n), range(mask.d)):
        h[mask.rows[j, i]] += values[j][i] * code[j]
    return values, code, h


@given(masks(max_m=8, max_n=6), st.integers(1, 3))
def test_peelability_is_its_definition(mask, a):
    def has_free_column(subset):
        rows = [set(mask.rows[j].tolist()) for j in subset]
        others = [set().union(*rows[:i], *rows[i + 1 :]) for i in range(len(rows))]
        return any(len(own - other) >= a for own, other in zip(rows, others, strict=True))

    support = range(mask.n)
    subsets = itertools.chain.from_iterable(itertools.combinations(support, t) for t in range(1, mask.n + 1))
    assert is_peelable(mask, support, a) == all(has_free_column(s) for s in subsets)


@given(masks(max_m=8, max_n=6), st.booleans(), st.integers(1, 3), st.data())
def test_the_decoder_keeps_account(mask, parallel, a, data):
    """Its updates add up to its code, and it says solved iff the code explains the activation."""
    values, _, h = random_code(mask, data)
    found = agreement_decode(mask, values, h, a, parallel=parallel)
    total = [Fraction(0)] * mask.n
    for j, value in found.updates:
        total[j] += value
    assert tuple(total) == found.code
    explained = [Fraction(0)] * mask.m
    for j, i in itertools.product(range(mask.n), range(mask.d)):
        explained[mask.rows[j, i]] += values[j][i] * total[j]
    assert found.solved == (explained == h)
    assert found.rounds <= mask.n


@given(masks(max_m=10, max_n=6), st.booleans(), st.data())
def test_two_agreeing_rows_decode_exactly_the_peelable_supports(mask, parallel, data):
    values, code, h = random_code(mask, data)
    found = agreement_decode(mask, values, h, 2, parallel=parallel)
    support = [j for j, x in enumerate(code) if x]
    assert (list(found.code) == code) == is_peelable(mask, support)
    assert all(value == code[j] for j, value in found.updates)


def test_a_column_takes_the_value_of_most_rows_and_of_the_first_among_equals():
    mask = Mask.from_columns(5, [[0, 1, 2, 3, 4]])
    w = [[1, 1, 2, 2, 1]]
    assert agreement_decode(mask, w, [3, 7, 14, 14, 3], 3).updates == ((0, 7),)
    first = agreement_decode(mask, w, [3, 7, 14, 6, 0], 2)
    assert first.updates[0] == (0, 3)
    assert agreement_decode(mask, w, [3, 7, 14, 6, 0], 3).updates == ()
    assert agreement_decode(mask, w, [0, 0, 0, 4, 2], 2).updates[0] == (0, 2)
    assert agreement_decode(mask, w, [0, 0, 0, 4, 2], 1, test="decrease").updates == ()  # three zeros would be lost
    assert agreement_decode(mask, w, [2, 2, 4, 4, 0], 3, test="decrease").updates == ((0, 2),)


def test_serial_columns_see_what_the_one_before_left():
    """Rows {0}, {0}: in parallel both columns take the value, one after the other only the first."""
    mask = Mask.from_columns(1, [[0], [0]])
    assert agreement_decode(mask, [[1], [1]], [5], 1, parallel=True).updates[:2] == ((0, 5), (1, 5))
    assert agreement_decode(mask, [[1], [1]], [5], 1, parallel=False).updates == ((0, 5),)


def test_a_support_that_one_row_peels_and_two_do_not():
    mask = Mask.from_columns(3, [[0, 1], [1, 2]])
    assert is_peelable(mask, [0, 1], 1)
    assert not is_peelable(mask, [0, 1], 2)
    case = ones(mask, [1, 1])
    holds("L0-1", case)
    assert not KNOWN["L0-1s"].evaluate(case).met  # eps_2 = 1/4 = (1 - 1/2)/2
    refuted_by("L0-1s/half", case)


def test_one_row_is_no_proof():
    """Of two columns on one row, the one outside the support takes the value as well."""
    refuted_by("L0-1/one-row", ones(Mask.from_columns(2, [[0, 1], [1, 0]]), [1, 0]))
    holds("L0-1", ones(Mask.from_columns(3, [[0, 1], [1, 2]]), [1, 0]))


def test_the_agreement_decoder_on_the_complete_graph():
    """K_4: d = 3, o = 1, eps_2 = 1/6, so (1 - 2 eps_2) d = 2 > o and two rows must agree."""
    case = ones(COMPLETE_4, [0, 0, 1, 2])
    holds("L0-2", case)
    holds("L0-2q", case)
    assert KNOWN["L0-2"].hypotheses["(1 - 2 eps_k) d > o"](case).low == 1
    refuted_by("L0-2/any-code", ones(COMPLETE_4, [0, 0, 1, 1]))


def test_few_rows_agree_by_chance():
    """Two columns with one mask (eps_1 = 0 does not see them): the wrong one is updated too."""
    twins = Mask.from_columns(2, [[0, 1], [0, 1]])
    refuted_by("L0-2/a=1", ones(twins, [1, 0]))
    refuted_by("L0-2/a=2", ones(twins, [1, 0]))
    assert not KNOWN["L0-2q"].evaluate(ones(twins, [1, 0])).met  # it asks for eps_2


def test_equality_fails_for_the_test_by_decrease():
    """THEORY.md, care note of L0-2: the 4-cycle, S = {2, 3}, columns visited in order 0, 1, 2, 3."""
    case = ones(FOUR_CYCLE, [0, 0, 1, 2])
    assert case.eps(2).high == Fraction(1, 4)
    refuted_by("L0-2q/equality", case)
    assert not KNOWN["L0-2q"].evaluate(case).met


def test_dissociation_is_decided_exactly():
    condition = KNOWN["L0-2"].hypotheses["dissociated code"]
    assert condition(ones(COMPLETE_4, [1, 2, 4, 8])).low == 1
    assert not condition(ones(COMPLETE_4, [1, 2, 3, 0])).met
    assert not condition(ones(COMPLETE_4, [1, -1, 3, 0])).met
    assert condition(ones(COMPLETE_4, [2**-40, -1, 0, 0])).met


def test_other_values_are_none_of_the_flat_decoder():
    condition = KNOWN["L0-2"].hypotheses["one positive value"]
    for values in (np.array([[1.0, 2], [1, 1], [1, 1], [1, 1]]), -np.ones((4, 2))):
        assert not condition(Case(Dictionary(FOUR_CYCLE, values), 2)).met
    assert condition(Case(Dictionary(FOUR_CYCLE, np.full((4, 2), 0.5)), 2)).met


def test_bad_arguments_of_the_decoder_are_named():
    w = [[1, 1]] * 4
    for name, arguments in {
        "a": (w, [0] * 4, 0),
        "h": (w, [0] * 3, 1),
        "values": ([[1, 0]] * 4, [0] * 4, 1),
    }.items():
        with pytest.raises(InvalidArgument, match=name):
            agreement_decode(FOUR_CYCLE, *arguments)
    with pytest.raises(InvalidArgument, match="test"):
        agreement_decode(FOUR_CYCLE, w, [0] * 4, 1, test="other")  # type: ignore[arg-type]
    for support in ([0, 0], [4]):
        with pytest.raises(InvalidArgument, match="support"):
            is_peelable(FOUR_CYCLE, support)


@pytest.mark.parametrize(
    ("a", "table"),
    [
        (1, {3: 0.8185, 5: 0.7018, 7: 0.5818, 16: 0.3292}),
        (2, {4: 0.346, 5: 0.369, 6: 0.363, 7: 0.347, 8: 0.330, 16: 0.226, 32: 0.140}),
    ],
)
def test_peeling_thresholds_are_those_of_the_table(a, table):
    for d, threshold in table.items():
        assert peeling_threshold(d, a) == pytest.approx(threshold, abs=6e-5 if a == 1 else 6e-4)


@pytest.mark.parametrize(("d", "a"), [(2, 1), (3, 2), (3, 1), (7, 2), (32, 2), (6, 4)])
def test_density_evolution_changes_at_the_threshold(d, a):
    """Bisection on the load with the recursion itself."""
    low, high = 0.0, 1.0
    while high - low > 1e-3:
        load = (low + high) / 2
        p, last = 1.0, 2.0
        while p > 1e-3 and last - p > 1e-7:
            p, last = peeling_step(p, load, d, a), p
        low, high = (load, high) if p < 1e-3 else (low, load)
    assert peeling_threshold(d, a) == pytest.approx(low, abs=3e-3)


def test_one_step_of_density_evolution():
    assert peeling_step(0.5, 0.4, 7, 1) == pytest.approx((1 - math.exp(-1.4)) ** 6)
    assert peeling_step(0.0, 0.4, 7, 2) == 0


@pytest.mark.parametrize("arguments", [(1, 1), (3, 3), (3, 0)])
def test_a_threshold_needs_spare_rows(arguments):
    with pytest.raises(InvalidArgument, match=r"^[ad] = "):
        peeling_threshold(*arguments)


def test_simulated_supports_peel_below_the_threshold_and_not_above():
    holds("L0-3", Peeling(7, 2, 0))
    refuted_by("L0-3/2-core", Peeling(7, 2, 0))
