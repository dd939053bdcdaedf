"""The table of solvers: every name is called in the same way, and variants are their solvers with options fixed."""

import inspect

import numpy as np
import pytest
from support.cases.solver_cases import codes, generic_dictionary

import expander_theory
from expander_theory.solvers import SOLVERS, amp, basis_pursuit, l0_decoding, lasso, omp

VARIANTS = {
    "l0-decoding-sequential": (l0_decoding, {"parallel": False}),
    "omp-nonnegative": (omp, {"selection": "nonnegative"}),
    "basis-pursuit-nonnegative": (basis_pursuit, {"nonnegative": True}),
    "lasso-nonnegative": (lasso, {"nonnegative": True}),
    "amp-nonnegative": (amp, {"nonnegative": True}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_their_solvers_with_options(name):
    w = generic_dictionary(True, 48, 90, d=6)
    h = w.matvec(codes(90, 4, 6))  # of both signs, so that the options matter
    solver, options = VARIANTS[name]
    found, expected = SOLVERS[name](w, h, 4), solver(w, h, 4, **options)
    for field in ("indices", "coefficients", "status", "residual_norms"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    if "nonnegative" in name:
        assert found.coefficients.min() >= 0
    key, value = next(iter(options.items()))
    assert repr(SOLVERS[name]) == f"{solver.__name__}(dictionary, signals, k, {key}={value!r})"


def test_options_of_a_variant_can_be_given_with_it():
    w = generic_dictionary(True, 48, 90, d=6)
    h = w.matvec(np.abs(codes(90, 4, 6)))
    found, expected = SOLVERS["lasso-nonnegative"](w, h, 4, refit=False), lasso(w, h, 4, refit=False, nonnegative=True)
    np.testing.assert_array_equal(found.coefficients, expected.coefficients)


def test_all_are_public_functions_or_variants_of_them():
    assert set(VARIANTS) < set(SOLVERS)
    for name, solver in SOLVERS.items():
        assert list(inspect.signature(solver).parameters)[:3] == ["dictionary", "signals", "k"]
        if name not in VARIANTS:
            assert getattr(expander_theory, name.replace("-", "_")) is solver
