"""Cost and identifiability experiments: exponents, exact margins and uniqueness against what is known."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from expander_theory import Dictionary, Mask, sign_dictionary, uniform_mask
from expander_theory.base.errors import ExpanderTheoryError
from expander_theory.results import CostRecord, IdentifiabilityRecord, read_records
from experiments.theory import cost, identifiability
from paper_figures.figures.theory.cost import exponent

SMALL = cost.Scale((48, 96, 4), (24, 48, 96), (48, 96, 192), (2, 4, 8), 4, 8, 1)


def test_exponents_of_power_laws():
    x = [1, 2, 4, 8, 16]
    found = exponent(x, [3 * value**1.5 for value in x])
    assert found["exponent"] == pytest.approx(1.5)
    assert found["low"] <= 1.5 + 1e-9
    assert found["high"] >= 1.5 - 1e-9
    noisy = exponent(x, [3.1, 5.7, 12.9, 22.0, 50.0])
    assert noisy["low"] < 1 < noisy["high"]
    assert exponent([1, 2, 4], [0, 1, 2])["exponent"] is None


def test_cost_measures_every_size_once_and_counts_bytes(tmp_path):
    for _ in range(2):
        cost.run(SMALL, 0, tmp_path)
    records = read_records(tmp_path / "ledger.jsonl", CostRecord)
    assert len(records) == len({(r.m, r.n, r.d) for r in records}) == 7
    for record in records:
        assert record.methods["dense BLAS"].bytes == 4 * record.m * record.n
        assert record.methods["ours"].bytes == 8 * record.d * record.n
        assert all(numbers.solve > 0 for numbers in record.methods.values())


def test_times_of_different_answers_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "sparse_loop", lambda _, signals, k: np.zeros((len(signals), k), np.int64))
    with pytest.raises(ExpanderTheoryError, match=r"supports of scipy.sparse differ at \(m, n, d\) = \(24, 96, 4\)"):
        cost.run(SMALL, 0, tmp_path)


def test_the_margin_is_the_least_over_all_codes():
    rng = np.random.default_rng(3)
    W = sign_dictionary(uniform_mask(6, 5, 3, seed=4), seed=5).to_dense() * rng.uniform(0.5, 2, (6, 5))
    found = identifiability.least_ratio(W, 3)
    norms = np.abs(W).sum(axis=0)
    tried = []
    for support in itertools.combinations(range(5), 3):
        x = np.zeros((4000, 5))
        x[:, support] = rng.standard_normal((4000, 3)) * rng.choice([0, 1], (4000, 3), p=[0.2, 0.8])
        x = x[np.abs(x).sum(axis=1) > 0]
        tried.append((np.abs(x @ W.T).sum(axis=1) / (np.abs(x) @ norms)).min())
    assert found <= min(tried) + 1e-9
    assert found == pytest.approx(min(tried), abs=0.05)


def test_the_margin_is_that_of_linear_programmes():
    W = np.random.default_rng(3).standard_normal((6, 5))
    least = 1.0
    for support in itertools.combinations(range(5), 3):
        for signs in itertools.product((1, -1), repeat=3):  # min sum t, -t <= Wx <= t, weights of x summing to 1
            part = W[:, support] * np.array(signs) / np.abs(W[:, support]).sum(axis=0)
            bounds = np.block([[part, -np.eye(6)], [-part, -np.eye(6)]])
            total = np.concatenate([np.ones(3), np.zeros(6)])[None]
            found = linprog(np.concatenate([np.zeros(3), np.ones(6)]), bounds, np.zeros(12), total, [1.0])
            least = min(least, found.fun)
    assert identifiability.least_ratio(W, 3) == pytest.approx(least, abs=1e-9)


def test_equal_columns_have_no_margin_and_no_unique_codes():
    w = Dictionary(Mask(4, np.array([[0, 1], [0, 1], [2, 3]], np.int32)), np.array([[1.0, 2], [2, 4], [1, 1]]))
    found = identifiability.measure(w, 1)
    assert found["margin"] == pytest.approx(0, abs=1e-9)
    assert found["eps"] == 0.5
    assert found["spark"] == 2
    assert not found["unique"]


def test_identifiability_keeps_one_mask_for_all_values_of_flatness(tmp_path):
    identifiability.run(identifiability.Scale(5, 3, 1, (4, 9), (1.0, 1.5), 2), 0, tmp_path)
    records = read_records(tmp_path / "ledger.jsonl", IdentifiabilityRecord)
    assert len(records) == 8
    for m, draw in itertools.product((4, 9), (0, 1)):
        assert len({r.eps for r in records if (r.m, r.draw) == (m, draw)}) == 1
    for record in records:
        assert record.margin >= record.bound - 1e-9
        assert record.unique or record.eps >= 0.5
