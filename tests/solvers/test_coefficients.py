import itertools

import numpy as np
import pytest

from expander_theory import (
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    Mask,
    flat_dictionary,
    gaussian_dictionary,
    sign_dictionary,
    uniform_mask,
)
from expander_theory.solvers.coefficients import exact_recovery_coefficients, range_certified_k, range_threshold


def erc(W, support):
    inverse = np.linalg.pinv(W[:, support])
    return max(np.abs(inverse @ W[:, j]).sum() for j in range(W.shape[1]) if j not in support)


def threshold(W, k):
    """R*_k of THEORY.md TOPK-1 over all supports, from its definition."""
    G, n = W.T @ W, W.shape[1]
    best = np.inf
    for support in itertools.combinations(range(n), k):
        for i, j, tau in itertools.product(support, set(range(n)) - set(support), (1, -1)):
            total = sum(abs(G[i, l] - tau * G[j, l]) for l in support if l != i)
            if 1 - tau * G[i, j] < 1e-12:
                return 0.0  # parallel columns: 0/0 = 0
            if total > 0:
                best = min(best, (1 - tau * G[i, j]) / total)
    return best


@pytest.mark.parametrize("seed", range(8))
def test_coefficients_agree_with_the_pseudo_inverse(seed):
    rng = np.random.default_rng(seed)
    W = (sign_dictionary if seed % 2 else gaussian_dictionary)(uniform_mask(12, 20, 4, seed=seed), seed=seed)
    for k in (1, 3, 5):
        supports = np.array([rng.choice(20, k, replace=False) for _ in range(4)])
        found = exact_recovery_coefficients(W, supports)
        for value, support in zip(found, supports.tolist(), strict=True):
            lowest = np.linalg.svd(W.to_dense()[:, support], compute_uv=False)[-1]
            assert np.isinf(value) if lowest < 1e-6 else np.isclose(value, erc(W.to_dense(), support))
    dense = DenseDictionary(W.to_dense().T.copy())
    assert np.allclose(exact_recovery_coefficients(dense, supports), exact_recovery_coefficients(W, supports))


def test_dependent_supports_have_no_coefficient():
    W = sign_dictionary(Mask(3, np.array([[0, 1], [0, 1], [0, 1], [1, 2]])), seed=0)
    assert np.isinf(exact_recovery_coefficients(W, [[0, 1, 2]])).all()


@pytest.mark.parametrize("seed", range(10))
def test_range_thresholds_agree_with_their_definition(seed):
    mask = uniform_mask(6 + seed % 4, 6 + seed % 3, 2 + seed % 3, seed=seed)
    W = (sign_dictionary if seed % 2 else gaussian_dictionary)(mask, seed=seed)
    for k in range(2, W.n - 1):
        found = range_threshold(W, k)
        assert found.exact
        assert np.isclose(found.low, threshold(W.to_dense(), k)) or found.low == threshold(W.to_dense(), k) == np.inf
    certified = range_certified_k(W, 1.5)
    assert all(threshold(W.to_dense(), k) > 1.5 for k in range(2, certified + 1))
    assert certified + 1 >= W.n or threshold(W.to_dense(), certified + 1) <= 1.5 * (1 + 1e-9)


def test_parallel_columns_leave_no_range():
    W = sign_dictionary(Mask(6, np.array([[0, 1], [0, 1], [2, 3], [4, 5], [1, 2]])), seed=0)
    twins = W.to_dense()
    twins[:, 1] = twins[:, 0]
    same = Dictionary(W.mask, np.stack([twins[rows, j] for j, rows in enumerate(W.mask.rows)]))
    assert [(range_threshold(same, k).low, range_threshold(same, k).high) for k in (1, 2, 3)] == [(0, 0)] * 3
    assert range_certified_k(same) == 0


def test_without_time_the_threshold_is_an_interval():
    W = flat_dictionary(uniform_mask(60, 200, 5, seed=1), flatness=1.2, seed=0)
    short, whole = range_threshold(W, 3, time_limit=0), range_threshold(W, 3, time_limit=60)
    assert whole.exact
    assert short.low <= whole.low <= short.high
    assert range_certified_k(W, time_limit=0) <= range_certified_k(W, time_limit=60)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda W: exact_recovery_coefficients(W, [[0, 0]]), "supports"),
        (lambda W: exact_recovery_coefficients(W, [[0, 99]]), "supports"),
        (lambda W: exact_recovery_coefficients(W, [[0.5]]), "supports"),
        (lambda W: range_threshold(W, 0), "k"),
        (lambda W: range_threshold(W, W.n), "k"),
        (lambda W: range_threshold(W, 2, time_limit=-1), "time_limit"),
        (lambda W: range_certified_k(W, 0.5), "dynamic_range"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(InvalidArgument) as caught:
        call(sign_dictionary(uniform_mask(8, 10, 2, seed=0), seed=0))
    assert caught.value.name == name
