"""What one step and a second step capture: statements and mutants on instances made by hand, and their quantities."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate
from scipy.stats import norm
from support.cases.pursuit_cases import CAPTURE, duplicates, full, of

from expander_theory import InvalidArgument, Mask, gaussian_dictionary, sign_dictionary, uniform_mask
from expander_theory.theorems import evaluate
from expander_theory.theorems._statements.pursuit import capture, gaussian, random_signs, second_step

PAIR = [[1, 0.6], [0, 0.8]]
"""Two unit columns with G = 0.6."""

AGAINST = {"code": [1, 1], "signal": [1, -2]}
"""c = (1, -1) on PAIR: the scores disagree with the overlap."""

ALONG = {"code": [1, 1], "signal": [1.6, 0.8]}
"""h = w_1 + w_2 on PAIR."""

THREE = np.linalg.cholesky(np.full((3, 3), 0.8) + 0.2 * np.eye(3)).T
"""Three unit columns with inner products 0.8: B = 1.6."""


def one_row(*values, **rest):
    return of(Mask(1, np.zeros((len(values), 1), int)), np.array(values, float)[:, None], **rest)


def triangle(values=((1, 1), (1, 1), (1, 1)), **rest):
    """Columns the edges of a triangle."""
    return of(Mask(3, np.array([[0, 1], [0, 2], [1, 2]])), values, **rest)


def cross(**rest):
    """(1, 1) and (1, -1): orthogonal, two shared rows."""
    return of(Mask(2, np.array([[0, 1], [0, 1]])), [[1, 1], [1, -1]], **rest)


def octahedron(signs, **rest):
    """Columns the vertices of the octahedron, rows its edges: two columns share at most one row."""
    rows = [[0, 1, 2, 3], [0, 4, 5, 6], [1, 4, 7, 8], [5, 7, 9, 10], [2, 8, 9, 11], [3, 6, 10, 11]]
    return of(Mask(12, np.array(rows)), signs, **rest)


SIGNS = [[1, 1, 1, 1], [-1, 1, 1, 1], [-1, -1, 1, 1], [-1, -1, 1, 1], [-1, -1, -1, 1], [-1, -1, -1, -1]]
THREE_SHARED = Mask(4, np.array([[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 3]]))
K4 = Mask(6, np.array([[0, 1, 2], [0, 3, 4], [1, 3, 5], [2, 4, 5]]))
K4_VALUES = [[0.126, 0.132, 0.64], [0.105, 0.536, 0.362], [1.304, 0.947, 0.704], [1.265, 0.623, 0.041]]

REFUTED = [
    ("STEP-1/once", duplicates([1, 1], signal=[1])),
    ("STEP-1/no-overlaps", duplicates([1, 1], signal=[1])),
    ("STEP-1/any-norm", one_row(2, id="STEP-1", signal=[1])),
    ("STEP-1b/at-most", full(PAIR, **AGAINST)),
    ("STEP-1b/never-negative", one_row(1, 1, 1, code=[1, 1, 1], signal=[1])),
    ("STEP-1b/mu", one_row(1, 1, 1, code=[1, 1, 1], signal=[1])),
    ("STEP-2/at-least-u", full(PAIR, **ALONG)),
    ("STEP-2/at-most-u", full(PAIR, **AGAINST)),
    ("STEP-2/any-B", full(THREE, [1, 1, 1], signal=THREE.sum(axis=1))),
    ("STEP-2r/never-worse", one_row(1, 1, 1, code=[1, 1, 1], signal=[1])),
    ("STEP-2r/mu", one_row(1, 1, 1, code=[1, 1, 1], signal=[1])),
    ("STEP-2r/half", full(PAIR, **ALONG)),
    ("STEP-3/OMP-the-same", full(PAIR, k=2, signal=[2, -1])),
    ("STEP-3/one-step", octahedron(SIGNS, k=4, signal=[-1, *[1] * 11])),
    ("STEP-3r/no-sigma", full([[1, 0.8], [0, 0.6]], signal=[0.2, -0.6])),
    ("TOPK-5/no-eta", full([[1]], signal=[1])),
    ("TOPK-5/flat", of(Mask(2, np.array([[0, 1]])), [[10, 1]], signal=[1, 0])),
    ("TOPK-5/plain-mean", of(Mask(4, np.array([[0, 1], [2, 3]])), [[10, 1], [1, 1]], signal=[1, 0, 0, 0])),
    ("TOPK-5/o=2", cross(signal=[1, 1])),
    ("TOPK-5/one-activation", of(Mask(2, np.array([[0, 1]])), [[1, 1]], signal=[1, 1])),
    ("TOPK-5/TopK", triangle(signal=[1, 1, 1])),
    ("TOPK-5n/no-q", triangle([[1, 1], [-1, 1], [-1, -1]], signal=[0.12573, -0.132105, 0.640423])),
    ("TOPK-5r/fixed-signs", full(PAIR, k=2, signal=[1, -2])),
    ("TOPK-5r/signs-of-h", of(THREE_SHARED, np.ones((4, 3)), k=2, signal=[0, 1, 2, 1])),
    ("TOPK-5r/no-ReLU", of(K4, K4_VALUES, k=3, signal=[0, 0, 0.8967, 0, 0.4417, 0.0293])),
    ("TOPK-6a/T_k", of(Mask(2, np.array([[0, 1]])), [[1, 1]], [1], id="TOPK-6a", signal=[1, 1])),
    ("TOPK-6a/k+1-rows", of(Mask(2, np.array([[0, 1]])), [[1, 1]], [1], id="TOPK-6a", signal=[1, 1])),
    ("TOPK-6a/no-2", of(Mask(2, np.array([[0, 1]])), [[1, 0.5]], [1], id="TOPK-6a", signal=[1, 1])),
    ("TOPK-6b/o=2", cross(id="TOPK-6b")),
    ("TOPK-6b/independent", of(Mask(2, np.array([[0, 1], [0, 1]])), [[1, 1], [0, 1]], id="TOPK-6b")),
    ("GAUSS-1/nu", full(np.eye(2))),
    ("GAUSS-1/no-p", full([[1, 0, 1, -1], [0, 1, 1, 1]])),
    ("GAUSS-1/one-sided", one_row(1, -1)),
]


@pytest.mark.parametrize(("id", "instance"), REFUTED, ids=[id for id, _ in REFUTED])
def test_the_mutant_is_refuted_and_the_statement_is_not(id, instance):
    assert CAPTURE[id].evaluate(instance).violated
    assert not CAPTURE[id.split("/")[0]].evaluate(instance).violated


def test_every_mutant_has_an_instance():
    assert {id for id, _ in REFUTED} == {id for id, statement in CAPTURE.items() if statement.wrong}


HOLDS = [
    ("STEP-1", full([[1, 2], [3, -1]], [1, 1], id="STEP-1", signal=[2, 5])),
    ("STEP-1b", full(PAIR, **ALONG)),
    ("STEP-2", full(PAIR, **ALONG)),
    ("STEP-2", full(PAIR, **AGAINST)),
    ("STEP-2r", full(PAIR, **ALONG)),
    ("STEP-3", full(PAIR, k=2, signal=[2, -1])),
    ("STEP-3r", full(np.eye(3), signal=[1, 1, 1])),
    ("TOPK-5", full([[1]], signal=[1])),
    ("TOPK-6a", full(np.eye(3), [3, 2, 0], signal=[3, 2, 1])),
    ("TOPK-6b", full(np.eye(3), id="TOPK-6b")),
    ("GAUSS-1", full(np.eye(3), k=2)),
]


@pytest.mark.parametrize(("id", "instance"), HOLDS, ids=[id for id, _ in HOLDS])
def test_the_statement_is_as_tight_as_its_extremal_instance(id, instance):
    found = CAPTURE[id].evaluate(instance)
    assert found.met
    assert found.conclusion is not None
    assert float(found.conclusion.low) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("id", "instance"),
    [
        ("STEP-2", duplicates([1, 1], signal=[1])),
        ("TOPK-5", cross(signal=[1, 1])),
        ("TOPK-5n", cross(signal=[1, 1])),
        ("TOPK-6b", cross(id="TOPK-6b")),
    ],
)
def test_the_hypotheses_refuse(id, instance):
    assert not CAPTURE[id].evaluate(instance).met


# ---- the quantities


def test_the_selection_is_the_support_of_the_code_or_the_largest_scores():
    W = [[1, 0.6, 0], [0, 0.8, 1]]
    assert capture.selected(full(W, [1, 0, 0], signal=[0, 1])) == [0]
    assert capture.selected(full(W, k=2, signal=[0.1, -1])) == [1, 2]


def test_one_step_and_pursuit_of_a_pair_by_hand():
    c = full(PAIR, k=2, signal=[2, -1])  # scores 2 and 0.4
    assert capture.captured(c, capture.one_step(c)[2]) == pytest.approx((4 + 0.16 - 2 * 0.8 * 0.6) / 5)
    steps = second_step.pursuit(c, 2, orthogonal=False)
    assert [score for score, *_ in steps] == pytest.approx([4 / 5, 0.64 / 5])
    assert np.linalg.norm(steps[-1][2]) ** 2 == pytest.approx((1 - 0.64) / 5)
    orthogonal = second_step.pursuit(c, 2, orthogonal=True)
    assert np.linalg.norm(orthogonal[-1][2]) < 1e-12


def test_pursuit_ends_where_nothing_is_left():
    assert len(second_step.pursuit(full(np.eye(3), k=3, signal=[3, 0, 0]), 3, orthogonal=False)) == 1
    assert second_step.pursuit(of(Mask(2, np.array([[0]])), [[1]], signal=[0, 1]), 1, orthogonal=True) == []


@pytest.mark.parametrize("one_sided", [False, True])
def test_averages_over_signs_are_those_of_loops(one_sided):
    c = triangle([[3, 1], [-1, 2], [1, 1]], signal=[1, 2, -0.5])
    h = np.abs(c.h) / np.linalg.norm(c.h)
    found = list(random_signs._by_threshold(c, one_sided))
    seen = []
    for signs in itertools.product((1, -1), repeat=3):
        scores = c.W.T @ (h * signs)
        seen.append((h * signs, scores, scores if one_sided else np.abs(scores)))
    levels = sorted({round(v, 9) for _, _, sizes in seen for v in sizes if v > 1e-9})
    assert len(found) == len(levels)
    for low, average in zip([0.0, *levels], found, strict=False):
        codes = [np.where(sizes > low + 1e-9, scores, 0) for _, scores, sizes in seen]
        shares = [1 - np.sum((x - c.W @ g) ** 2) for (x, *_), g in zip(seen, codes, strict=True)]
        assert average.captured == pytest.approx(np.mean(shares))
        assert average.energies == pytest.approx(np.mean(np.square(codes), axis=0))
        assert average.chances == pytest.approx(np.mean(np.array(codes) != 0, axis=0))


def test_ties_go_to_the_first_and_rounding_breaks_none():
    sizes = np.array([[0.3, 0.1 + 0.2, 0.5], [0.0, 0.0, 1.0]])
    assert random_signs._largest(sizes, 2).tolist() == [[True, False, True], [False, False, True]]


def test_products_over_signs_of_the_columns_are_those_of_loops():
    c = triangle([[3, 1], [1, 2], [1, 1]], k=2, signal=[1, 2, -0.5])
    h, moduli = c.h / np.linalg.norm(c.h), np.abs(c.W)
    totals, shares = np.zeros((3, 3)), []
    for signs in itertools.product((1, -1), repeat=6):
        W = moduli.copy()
        W[c.mask.rows, np.arange(3)[:, None]] *= np.reshape(signs, (3, 2))
        scores = W.T @ h
        g = np.zeros(3)
        chosen = sorted(range(3), key=lambda j: (-round(abs(scores[j]), 9), j))[:2]
        g[chosen] = scores[chosen]
        totals += np.outer(g, g) * (W.T @ W) / 64
        shares.append(1 - np.sum((h - W @ g) ** 2))
    products, share = next(random_signs._pair_products(c))
    assert products == pytest.approx(totals)
    assert share == pytest.approx(np.mean(shares))


def test_averages_over_more_signs_than_can_be_enumerated_are_refused():
    W = sign_dictionary(uniform_mask(40, 12, 3, seed=0), seed=0)
    for id in ("TOPK-5r", "TOPK-5"):
        with pytest.raises(InvalidArgument, match="sign patterns"):
            CAPTURE[id].conclusion(of(W.mask, W.values, signal=np.ones(40)))


@pytest.mark.parametrize("rho", [-1.0, -0.9, -0.3, 0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("t", [0.0, 0.7, 2.5])
def test_corner_products_are_the_integral(rho, t):
    if abs(rho) == 1:
        expected = gaussian.tail_energy(t) if rho == 1 else 0.0
    else:
        s = math.sqrt(1 - rho**2)

        def inner(x):  # x E[y; y > t | x]
            z = (t - rho * x) / s
            return x * norm.pdf(x) * (rho * x * norm.sf(z) + s * norm.pdf(z))

        expected = integrate.quad(inner, t, 12, points=[min(11.0, max(t, abs(t / (rho or 1))))], epsabs=1e-13)[0]
    assert float(gaussian.corner_product(np.array([rho]), t)[0]) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("one_sided", [False, True])
def test_the_share_of_gaussian_activations_is_that_of_a_sample(one_sided):
    W = np.array([[1, 0.6, -0.8], [0, 0.8, 0.6]])
    h = np.random.default_rng(0).standard_normal((200_000, 2))
    scores = h @ W
    g = np.where((scores if one_sided else np.abs(scores)) > 0.8, scores, 0)
    shares = ((h**2).sum(axis=1) - ((h - g @ W.T) ** 2).sum(axis=1)) / 2
    found = gaussian.captured_share(W.T @ W, 2, 0.8, one_sided)
    assert abs(found - shares.mean()) < 5 * shares.std() / math.sqrt(len(h))


# ---- on dictionaries of one's own


@pytest.mark.parametrize("id", ["STEP-1", "STEP-1b", "STEP-2", "STEP-2r", "STEP-3", "STEP-3r"])
def test_statements_about_one_activation_are_evaluated_on_large_dictionaries(id):
    W = gaussian_dictionary(uniform_mask(120, 800, 6, seed=0), seed=0)
    found = evaluate(id, W, 12, signal=np.random.default_rng(1).standard_normal(120))
    assert found.met
    assert not found.violated
    with pytest.raises(InvalidArgument, match="needed"):
        evaluate(id, W, 12)
