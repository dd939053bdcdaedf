"""OMP-3's left side is one function: every place that decides the condition gets it from there."""

import ast
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from expander_theory.certificates import certify
from expander_theory.dictionaries import (
    babel,
    babel_certified_k,
    consecutive_sums,
    dense_gaussian_dictionary,
    sign_dictionary,
)
from expander_theory.masks import polynomial_mask, uniform_mask

ROOT = Path(__file__).parents[2] / "expander_theory"


def test_sums_of_neighbours_in_every_arithmetic():
    sums = [0, 1, 3, 4]
    assert consecutive_sums(lambda k: Fraction(sums[k], 7), 2) == Fraction(4, 7)
    assert consecutive_sums(lambda k: sums[k] / 4, 3) == 1.75
    np.testing.assert_array_equal(consecutive_sums(np.array(sums, float).__getitem__, np.arange(1, 4)), [1, 4, 7])


@pytest.mark.parametrize("dictionary", [
    sign_dictionary(uniform_mask(128, 160, 3, seed=0), seed=1),
    dense_gaussian_dictionary(900, 30, seed=2),
], ids=["masked", "dense"])  # fmt: skip
def test_the_certified_k_is_the_last_one_that_meets_the_condition(dictionary):
    gram = dictionary.to_dense().T @ dictionary.to_dense()
    moduli = np.sort(np.abs(gram - np.diag(np.diag(gram))), axis=1)[:, ::-1]
    mu = np.concatenate([[0.0], moduli.cumsum(axis=1).max(axis=0)])
    assert babel(dictionary, 4) == pytest.approx(mu[1:5])
    k = max((k for k in range(1, 30) if mu[k] + mu[k - 1] < 1 - 1e-9), default=0)
    assert babel_certified_k(dictionary) == k
    assert k > 1 or dictionary.d == 3


def test_the_certificate_agrees_with_the_float_decision():
    dictionary = sign_dictionary(polynomial_mask(11, 9), seed=1)
    claims = {claim["theorem"]: claim for claim in certify(dictionary, time_limit=0, progress=False)["claims"]}
    assert claims["OMP-3"]["k"] == babel_certified_k(dictionary) >= 2
    assert claims["L1-ERC"]["at_k"]["left"] == claims["OMP-3"]["at_k"]["left"]


def test_nobody_adds_neighbouring_sums_but_that_function_and_the_checker():
    """Additions s(k) + s(k - 1) or s[k] + s[k - 1] in the source, whatever s and k are called."""

    def neighbours(node):
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)):
            return False
        left, right = ast.unparse(node.left), ast.unparse(node.right)
        return re.sub(r" - 1([)\]])$", r"\1", right) == left != right

    found = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if any(map(neighbours, ast.walk(ast.parse(path.read_bytes()))))
    }
    assert found == {"dictionaries/geometry.py", "certificates/_check/claims.py"}
