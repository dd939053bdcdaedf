"""Slack, cases, registry and attack: the parts that every statement rests on."""

import itertools
import pickle
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from support import oracles

import expander_theory
from expander_theory import Dictionary, InvalidArgument, Mask, gaussian_dictionary, sign_dictionary, uniform_mask
from expander_theory.theorems import (
    Case,
    ConditionFailed,
    Draws,
    Evaluation,
    Statement,
    attack,
    evaluate,
    find_statement,
    mutants,
    nonnegative,
    positive,
    statements,
)
from expander_theory.theorems._statements.pursuit.margins import pursuit_margin
from expander_theory.theorems._subsets import Subsets
from expander_theory.theorems.evaluate import hypotheses
from expander_theory.theorems.quantities import erc, kernel_vector, largest_matching, rip, spark
from expander_theory.theorems.searching._strategies import cases, masks
from expander_theory.theorems.slack import least

# ---- slack


@pytest.mark.parametrize(
    ("slack", "met", "violated"),
    [
        (positive(Fraction(1, 10**9)), True, False),
        (positive(0), False, True),
        (nonnegative(0), True, False),
        (nonnegative(Fraction(-1, 10**12)), False, True),
        (positive(1e-7), False, False),  # rounding must neither make a hypothesis true nor a conclusion false
        (positive(1e-5), True, False),
        (positive(1e-10), False, True),
        (nonnegative(-1e-10), False, False),
        (nonnegative(-1e-8), False, True),
        (positive(Fraction(-1, 2), high=Fraction(1, 2)), False, False),  # only bounded: undecided, no failure
        (positive(Fraction(-1, 2), high=Fraction(-1, 4)), False, True),
    ],
)
def test_slack_decides_strictly_and_with_margins(slack, met, violated):
    assert (slack.met, slack.violated) == (met, violated)
    assert slack.status == ("holds" if met else "fails" if violated else "undecided")


def test_a_margin_is_a_number():
    with pytest.raises(InvalidArgument, match="NaN"):
        positive(float("nan"))


def test_an_undecided_condition_decides_before_one_that_holds():
    assert not least(nonnegative(0), positive(0, high=1)).met
    assert not least(nonnegative(0.0), positive(1e-7)).met


def test_the_failing_condition_decides_before_the_smaller_one():
    assert least(nonnegative(-1e-12), positive(0)).violated
    assert least(positive(2), positive(1)).low == 1


# ---- cases


@given(masks(8, 6))
@settings(max_examples=40)
def test_subsets_agree_with_enumeration(mask):
    sub = Subsets(mask)
    rows = [set(map(int, r)) for r in mask.rows]
    for s in range(1, 2**mask.n):
        chosen = [j for j in range(mask.n) if s >> j & 1]
        counts = [sum(i in rows[j] for j in chosen) for i in range(mask.m)]
        assert sub.neighbours[s] == sum(c > 0 for c in counts)
        assert sub.unique[s] == sum(c == 1 for c in counts)
    for size in range(1, mask.n + 1):
        least_neighbours = oracles.least_neighbours(mask.rows.tolist(), size)
        assert sub.eps_at(size) == 1 - Fraction(least_neighbours, mask.d * size)
    assert sub.eps(mask.n + 5) == sub.eps(mask.n)


def test_exact_flatness_of_known_columns():
    case = Case(Dictionary(Mask(4, np.array([[0, 1, 2], [1, 2, 3]])), np.array([[1.0, -1, 1], [3, 0, 4]])))
    assert case.C_squared == Fraction(3 * 16, 25)
    assert case.beta == Fraction(12, 7)
    assert case.alpha == 0
    assert case.phi == Fraction(49, 75)
    assert case.top_mass(Fraction(1)) == Fraction(4, 7)
    assert case.top_mass(Fraction(1, 2)) == Fraction(2, 7)
    assert case.top_mass(Fraction(3)) == 1


def test_the_top_mass_is_the_least_concave_majorant():
    """Columns (1,0,0) and (1,1,1)/3 give shares 1, 1, 1; the majorant of max over columns is not that of one."""
    case = Case(Dictionary(Mask(5, np.array([[0, 1, 2, 3], [1, 2, 3, 4]])), np.array([[5.0, 1, 1, 1], [2, 2, 2, 2]])))
    shares = [0, Fraction(5, 8), Fraction(6, 8), Fraction(7, 8), 1]
    for c in (Fraction(i, 3) for i in range(13)):
        lines = [
            shares[a] + (shares[b] - shares[a]) * (c - a) / (b - a)
            for a, b in itertools.combinations(range(5), 2)
            if a <= c <= b
        ]
        assert case.top_mass(c) == max(lines)


def test_expansion_of_a_large_mask_is_an_interval_with_its_direction():
    mask = uniform_mask(200, 3000, 8, seed=0)
    eps = Case(sign_dictionary(mask, seed=0), k=6, time_limit=0.0).eps(12)
    assert 0 < eps.low < eps.high <= 1
    assert "proved" in eps.how
    found = evaluate("IDN-1", sign_dictionary(mask, seed=0), 6, time_limit=0.0)
    assert found.conclusion is None
    assert found.hypotheses[0].status in ("undecided", "fails")
    assert found.hypotheses[0].high == Fraction(1, 2) - eps.low


# ---- quantities


@given(st.integers(0, 200))
@settings(max_examples=30)
def test_erc_is_that_of_the_pseudo_inverse(seed):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((5, 7))
    W /= np.linalg.norm(W, axis=0)
    for k in (1, 2, 3):
        sets = np.array(list(itertools.combinations(range(7), k)))
        expected = [
            max(np.abs(np.linalg.pinv(W[:, s]) @ W[:, j]).sum() for j in range(7) if j not in s) for s in sets.tolist()
        ]
        assert np.allclose(erc(W.T @ W, sets), expected)
    assert np.isinf(erc(np.ones((3, 3)), np.array([[0, 1]])))[0]


def test_pursuit_margin_sees_ties_and_wrong_atoms():
    W = np.array([[1.0, 0, np.sqrt(0.5)], [0, 1, np.sqrt(0.5)]])
    assert pursuit_margin(W, W @ np.array([1.0, 0.2, 0]), (0, 1)) > 0
    assert pursuit_margin(W, W @ np.array([1.0, 1.0, 0]), (0, 1)) < 0
    assert pursuit_margin(np.ones((1, 2)), np.ones(1), (0,)) == 0


def test_spark_kernel_matching_and_isometry_of_known_dictionaries():
    k4 = Mask.from_columns(6, [[0, 1, 2], [0, 3, 4], [1, 3, 5], [2, 4, 5]])
    signed = Case(Dictionary(k4, np.array([[1.0, 1, 1], [-1, 1, 1], [-1, -1, 1], [-1, -1, -1]])), unit=True)
    assert spark(signed) == 4
    v = kernel_vector(signed, range(4))
    assert v is not None
    assert np.allclose(v / v[0], 1)
    assert np.isclose(signed.mu, 1 / 3)
    assert np.isclose(rip(signed, 2), 1 / 3)
    twins = Case(Dictionary(Mask(2, np.array([[0, 1], [0, 1], [0, 1]])), np.ones((3, 2))))
    assert largest_matching(twins, (0, 1, 2)) == 2
    assert spark(twins) == 2


# ---- registry


def test_every_id_of_the_catalogue_is_a_statement():
    text = (Path(expander_theory.__file__).parent / "THEORY.md").read_text()
    named = set(
        re.findall(
            r"\b(?:EXP|FLAT|IDN|RIP1|STAB|NSP|OMP|NEG|TOPK|AVG|MED|L0|L1|STAT|REF|PAPER|STEP|GAUSS)-[0-9A-Z]+[a-zS]*",
            text,
        )
    )
    parts = {"EXP-3a": "EXP-3", "EXP-5a": "EXP-5", "TOPK-2": "TOPK-2b"}
    missing = {parts.get(name, name) for name in named} - set(statements())
    assert not missing


def test_statements_are_complete():
    for statement in statements().values():
        assert statement.text.endswith("."), statement.id
        for field in ("latex", "source", "cost", "check"):
            assert getattr(statement, field), (statement.id, field)
        for mutant in statement.mutants:
            assert mutant.wrong
            assert mutant.id.startswith(f"{statement.id}/")
            assert re.fullmatch(r"[A-Za-z0-9]+-[A-Za-z0-9]+/[A-Za-z0-9._^+=-]+", mutant.id), mutant.id
            assert mutant.text != statement.text
    assert len(mutants()) == sum(len(s.mutants) for s in statements().values())


def test_unknown_ids_name_the_nearest():
    with pytest.raises(InvalidArgument, match="did you mean IDN-1"):
        find_statement("IDM-1")
    assert find_statement("omp-7U").id == "OMP-7u"


# ---- evaluation on a dictionary


def test_margins_on_a_dictionary():
    W = sign_dictionary(Mask.from_columns(6, [[0, 1, 2], [0, 3, 4], [1, 3, 5], [2, 4, 5]]), seed=0)
    one = evaluate("IDN-1", W, 1)
    assert one.met
    assert one.hypotheses[0].low == Fraction(1, 2) - Fraction(1, 6)
    assert one.conclusion is not None
    assert one.conclusion.met
    two = evaluate("IDN-1", W, 2)
    assert two.hypotheses[0].low == 0
    assert two.hypotheses[0].status == "fails"
    assert two.conclusion is None


def test_dictionaries_that_do_not_qualify_are_refused_by_column():
    mask = uniform_mask(6, 4, 2, seed=0)
    values = np.ones((4, 2))
    values[2, 1] = 0
    with pytest.raises(InvalidArgument, match="zero entry in column 2"):
        evaluate("IDN-1", Dictionary(mask, values), 1)
    assert evaluate("IDN-1z", Dictionary(mask, values), 1).hypotheses
    scaled = np.full((4, 2), np.sqrt(0.5))
    scaled[3] *= 1.5
    with pytest.raises(InvalidArgument, match=r"column 3 has norm 1\.5"):
        evaluate("OMP-3", Dictionary(mask, scaled), 1)
    with pytest.raises(InvalidArgument, match="code"):
        evaluate("RIP1-1", Dictionary(mask, values), 1)
    with pytest.raises(InvalidArgument, match="k = 5"):
        evaluate("IDN-1z", Dictionary(mask, values), 5)
    with pytest.raises(InvalidArgument, match="not about one dictionary"):
        evaluate("EXP-8", Dictionary(mask, values), 1)


def test_codes_must_be_what_the_statement_is_about():
    W = sign_dictionary(Mask.from_columns(6, [[0, 1, 2], [0, 3, 4], [1, 3, 5], [2, 4, 5]]), seed=0)
    with pytest.raises(InvalidArgument, match="at most k = 1"):
        evaluate("IDN-3", W, 1, code=[1.0, 1, 0, 0])
    with pytest.raises(InvalidArgument, match="shape"):
        evaluate("RIP1-1", W, 1, code=np.ones((2, 4)))
    with pytest.raises(InvalidArgument, match="noise"):
        evaluate("NSP-2bp", W, 1, code=[1.0, 0, 0, 0])


def test_moves_of_the_adversary_do_not_count_as_examples():
    rare = Statement(
        "OWN-5", "Rarely met.", lambda c: positive(1.0 + float(abs(c.x[0]))),
        {"one column in seven": lambda c: positive(1 if c.n == 7 and c.d == 3 and c.k == 4 else -1)},
        draws=Draws(code="any"), floor=0.2,
    )  # fmt: skip
    report = attack(rare)
    assert report.moves > 0
    assert report.met_rate < 0.2
    assert report.verdict == "rarely met"


@pytest.mark.parametrize(
    ("changes", "name"), [({"budget": 5}, "budget"), ({"seed": -1}, "seed"), ({"seed": "a"}, "seed")]
)
def test_bad_arguments_of_an_attack_are_named(changes, name):
    with pytest.raises(InvalidArgument) as caught:
        attack(find_statement("EXP-2"), **changes)
    assert caught.value.name == name
    with pytest.raises(InvalidArgument, match="max_n"):
        Draws(max_n=1)


def test_conclusions_beyond_enumeration_are_refused_not_attempted():
    with pytest.raises(InvalidArgument, match="sets"):
        evaluate("STAB-3", gaussian_dictionary(uniform_mask(40, 200, 4, seed=0), seed=0), 5)


# ---- attack


def test_a_statement_of_ones_own_is_attacked_in_the_same_way():
    false = Statement(
        "OWN-1",
        "Coherence below 1/k makes every k columns independent by a margin of 1/2.",
        lambda c: nonnegative(float(np.linalg.eigvalsh(c.G)[0]) - 0.5),
        {"mu < 1/2": lambda c: positive(0.5 - c.mu)},
        needs=("unit",),
    )
    report = attack(false, seed=1)
    assert report.verdict == "refuted"
    assert report.counterexample.mu < 0.5
    assert np.linalg.eigvalsh(report.counterexample.G)[0] < 0.5
    true = Statement(
        "OWN-2", "Eigenvalues of W^T W sum to n.", lambda c: nonnegative(1e-9 - abs(float(np.trace(c.G)) - c.n)),
        needs=("unit",),
    )  # fmt: skip
    again = attack(true, seed=1)
    assert (again.verdict, again.met_rate) == ("stands", 1.0)


def test_hypotheses_that_are_never_met_prove_nothing():
    empty = Statement("OWN-3", "From nothing.", lambda c: positive(-1), {"never": lambda c: positive(-1)})
    report = attack(empty)
    assert (report.verdict, report.as_expected) == ("rarely met", False)


def test_the_adversary_finds_what_drawing_does_not():
    """A violation on a set of codes too thin to draw: |x_0 / x_1 - 2.345| < 0.01."""
    thin = Statement(
        "OWN-4",
        "Ratios keep their distance.",
        lambda c: nonnegative(
            abs(abs(float(c.x[0] / c.x[1])) - 2.345) - 0.01 if len(c.support) > 1 and c.support[:2] == (0, 1) else 1.0
        ),
        draws=Draws(code="any"),
    )
    assert attack(thin, seed=0).verdict == "refuted"


@pytest.mark.parametrize("id", ["EXP-2", "IDN-1", "NSP-2"])
def test_the_same_seed_gives_the_same_attack(id):
    first, second = (attack(find_statement(id), seed=3) for _ in range(2))
    assert (first.tried, first.met) == (second.tried, second.met)
    assert first.tightest == second.tightest


@given(cases(find_statement("OMP-2")))
@settings(max_examples=50)
def test_drawn_cases_are_valid(case):
    assert 1 <= case.k <= case.n
    assert np.allclose(np.linalg.norm(case.W, axis=0), 1)


# ---- statements of one's own


def test_a_later_hypothesis_is_not_looked_at_where_an_earlier_one_fails():
    def needs_two(c):
        return nonnegative(1 / (c.n - 1))

    one = Statement("MINE", "x.", lambda c: positive(1), {"n >= 2": lambda c: nonnegative(c.n - 2), "later": needs_two})
    single = Case(Dictionary(Mask(2, np.array([[0, 1]])), np.ones((1, 2))))
    assert len(one.evaluate(single).hypotheses) == 1
    assert not one.evaluate(single).met
    assert attack(one).verdict == "stands"
    _, margins = hypotheses(one, single.dictionary, 1)
    assert margins["later"] is None


def test_an_error_in_a_condition_shows_the_instance():
    one = Statement("MINE", "x.", lambda c: positive(1 / (c.n - 1)))
    with pytest.raises(
        ConditionFailed, match=r"MINE: a condition raised ZeroDivisionError .*\nm = \d+, n = 1, d = \d+"
    ) as found:
        attack(one)
    assert found.value.instance.n == 1
    again = pickle.loads(pickle.dumps(found.value))
    assert str(again) == str(found.value)


def test_a_mutant_has_its_own_floor():
    one = Statement("MINE", "x.", lambda c: positive(1), floor=0.9)
    assert one.mutant("a", "y.").floor == 0.05
    assert one.mutant("a", "y.", floor=0.3).floor == 0.3


def test_several_conclusions_at_once_are_exported():
    from expander_theory import theorems

    assert theorems.least(nonnegative(1), nonnegative(-1)).violated


def test_activations_of_no_code_are_drawn_and_moved():
    """||W^T h||_2 <= ||h||_2 fails for overcomplete W, and holds for one column."""
    draws = Draws(max_m=4, max_n=3, signal=True)

    def bessel(c):
        return nonnegative(float(c.h @ c.h - (c.W.T @ c.h) @ (c.W.T @ c.h)) + 1e-9)

    wrong = Statement("MINE", "x.", bessel, needs=("unit",), draws=draws)
    report = attack(wrong)
    assert report.verdict == "refuted"
    assert "activation: " in str(report.counterexample)
    right = replace(wrong, hypotheses={"n = 1": lambda c: nonnegative(1 - c.n)})
    assert attack(right).verdict == "stands"
    W = sign_dictionary(Mask.from_columns(4, [[0, 1], [1, 2]]), seed=0)
    assert (
        evaluate(right, Dictionary(Mask(4, W.mask.rows[:1]), W.values[:1]), 1, signal=np.ones(4)).conclusion is not None
    )
    with pytest.raises(InvalidArgument, match="signal"):
        evaluate(wrong, W, 1)


@pytest.mark.parametrize("seed", range(6))
def test_an_attack_looks_at_every_k(seed):
    """The slack of this mutant tends to 0 at k = 1, where it is right, and it falls at k = 2 on the signed K_4."""
    assert attack(find_statement("OMP-7b/1-over-sqrt-k"), seed=seed).verdict == "refuted"


def test_the_adversary_starts_from_every_k_and_size():
    from expander_theory.theorems.searching.search import Report

    report = Report(Statement("MINE", "x.", lambda c: positive(1)))
    masks = [Mask(8, np.array([[i, i + 1], [i, i + 2]])) for i in range(6)] + [
        Mask(8, np.array([[0, 1, i]])) for i in range(2, 8)
    ]
    for number, mask in enumerate(masks):
        for k in (1, 2):
            slack = positive(1e-3 * number if k == 1 else 1.0 + number)
            report.record(Case(Dictionary(mask, np.ones(mask.rows.shape)), k), Evaluation((), slack))
    starts = report.starts(4, np.random.default_rng(0))[:4]
    assert sorted((case.k, case.d) for case in starts) == [(1, 2), (1, 3), (2, 2), (2, 3)]
