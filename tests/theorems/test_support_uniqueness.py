"""IDN-5 against exact ranks of all sets of columns, and the instances that refute what it does not say."""

import numpy as np
import pytest
from support.cases.exact_cases import another_code, rows_suffice

from expander_theory import Dictionary, Mask
from expander_theory.theorems._statements.support_uniqueness import IDN_5
from expander_theory.theorems.case import Case


def on(mask, values, support):
    code = np.zeros(mask.n)
    code[list(support)] = 1
    return Case(Dictionary(mask, values), len(support), code)


def drawn(seed, count):
    """Masks, values that cancel easily, and supports; half of them with columns on the rows of the support."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        m, n = int(rng.integers(2, 11)), int(rng.integers(2, 8))
        d, k = int(rng.integers(1, min(m, 5) + 1)), int(rng.integers(1, min(4, n) + 1))
        rows = [np.sort(rng.choice(m, d, replace=False)) for _ in range(n)]
        support = sorted(rng.choice(n, k, replace=False).tolist())
        pool = np.unique([rows[j] for j in support])
        for l in range(n):
            if l not in support and rng.random() < 0.35 and len(pool) >= d:
                rows[l] = np.sort(rng.choice(pool, d, replace=False))
        values = rng.choice([(1.0, 1.0), (1.0, -1.0), (1.0, 2.0), (-3.0, 2.0)][int(rng.integers(4))], (n, d))
        yield Mask(m, np.array(rows, np.int32)), values, support


def integer_columns(mask, values):
    columns = np.zeros((mask.n, mask.m), int)
    np.put_along_axis(columns, mask.rows.astype(int), values.astype(int), axis=1)
    return columns.tolist()


@pytest.mark.parametrize("seed", range(2))
def test_no_other_code_exists_where_the_condition_holds(seed):
    """Whatever the values, and for codes on a part of the support too: A is any part of it."""
    held = [0] * 5
    for mask, values, support in drawn(seed, 6000):
        if not rows_suffice(mask, support):
            continue
        held[len(support)] += 1
        assert another_code(integer_columns(mask, values), support) is None, (mask.rows, values, support)
    assert min(held[1:]) > 15


def test_the_statement_is_the_condition_and_the_conclusion():
    for mask, values, support in drawn(7, 250):
        found = IDN_5.evaluate(on(mask, values, support))
        assert found.met == rows_suffice(mask, support)
        assert not found.violated
        if not found.met:
            continue
        assert found.conclusion.met


@pytest.mark.parametrize("mutant", IDN_5.mutants, ids=lambda mutant: mutant.id)
def test_what_it_does_not_say_is_refuted(mutant):
    two_for_one = Mask(3, np.array([[0, 1], [0, 2], [1, 2]])), np.array([[1.0, 1], [1, 1], [1, -1]]), [0]
    assert IDN_5.evaluate(on(*two_for_one)).met
    instances = (two_for_one, *drawn(11, 900))
    assert any(mutant.evaluate(on(*instance)).violated for instance in instances), mutant.id


def test_the_condition_is_sharp_where_two_columns_cover_one():
    """The column outside has the two rows that the column of the support has: U_1 = 2 = H_1, and it is a copy."""
    mask = Mask(4, np.array([[0, 1], [2, 3], [0, 1]]))
    values = np.ones((3, 2))
    assert not IDN_5.evaluate(on(mask, values, [0])).met
    assert another_code(integer_columns(mask, values), [0]) == (0, 2)
    assert IDN_5.evaluate(on(mask, values, [1])).met


def test_every_column_in_the_support():
    mask = Mask(3, np.array([[0, 1], [1, 2]]))
    assert IDN_5.evaluate(on(mask, np.ones((2, 2)), [0, 1])).met
    cycle = Mask(3, np.array([[0, 1], [1, 2], [0, 2]]))
    assert not IDN_5.evaluate(on(cycle, np.ones((3, 2)), [0, 1, 2])).met  # no row of one column alone
