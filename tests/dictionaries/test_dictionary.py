import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from support import oracles
from support.strategies import masks

from expander_theory import (
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    InvalidFile,
    babel,
    babel_certified_k,
    coherence,
    dense_gaussian_dictionary,
    flat_dictionary,
    flatness,
    gaussian_dictionary,
    load_dictionary,
    overlap_counts,
    save_mask,
    sign_dictionary,
    uniform_mask,
)
from expander_theory.dictionaries.geometry import coherence_certified_k

FAMILIES = [sign_dictionary, gaussian_dictionary, lambda mask, seed: flat_dictionary(mask, flatness=1.0, seed=seed)]


@given(masks(), st.sampled_from(FAMILIES), st.integers(0, 5))
def test_products_agree_with_the_dense_matrix(mask, family, seed):
    w = family(mask, seed=seed)
    matrix = oracles.dense(mask.m, mask.rows, w.values)
    np.testing.assert_array_equal(w.to_dense(), matrix)
    np.testing.assert_array_equal(w.to_scipy().toarray(), matrix)
    rng = np.random.default_rng(seed)
    x, h = rng.standard_normal((3, mask.n)), rng.standard_normal((3, mask.m))
    np.testing.assert_allclose(w.matvec(x), x @ matrix.T, atol=1e-12)
    np.testing.assert_allclose(w.rmatvec(h), h @ matrix, atol=1e-12)
    np.testing.assert_allclose(w.rmatvec(h[0]), h[0] @ matrix, atol=1e-12)
    np.testing.assert_allclose(w.gram().toarray(), matrix.T @ matrix, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=0), 1, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 7, 16, 90])
@pytest.mark.parametrize("batch", [0, 1, 3, 4, 33, 64, 70])
def test_a_correlation_has_the_same_bits_in_every_batch(batch, n, dtype):
    """Full tiles, a last one that is not full, and too few for one; columns and rows that fill no whole block."""
    w = sign_dictionary(uniform_mask(150, n, 5, seed=0), seed=1).astype(dtype)
    h = np.random.default_rng(2).standard_normal((batch, 150)).astype(dtype)
    found = w.rmatvec(h)
    assert found.shape == (batch, n)
    assert found.dtype == dtype
    for row, one in zip(h, found, strict=True):
        np.testing.assert_array_equal(w.rmatvec(row), one)
    np.testing.assert_allclose(found, h @ w.to_dense(), atol=1e-5 if dtype == np.float32 else 1e-13)


def test_dense_dictionaries_answer_the_same_calls():
    w = dense_gaussian_dictionary(7, 12, seed=0)
    matrix = w.to_dense()
    x, h = np.ones((2, 12)), np.ones((2, 7))
    np.testing.assert_allclose(w.matvec(x), x @ matrix.T)
    np.testing.assert_allclose(w.rmatvec(h), h @ matrix)
    np.testing.assert_allclose(w.gram(), matrix.T @ matrix)
    np.testing.assert_allclose(w.to_scipy().toarray(), matrix)
    assert (w.m, w.n, w.d) == (7, 12, 7)
    np.testing.assert_allclose(w.column_norms, 1)


def test_float32_signals_stay_float32():
    w = sign_dictionary(uniform_mask(9, 12, 3, seed=0), seed=0)
    assert w.rmatvec(np.ones(9, np.float32)).dtype == np.float32
    assert w.matvec(np.ones(12)).dtype == np.float64


@given(st.integers(1, 9), st.floats(0, 1), st.integers(0, 3))
def test_flatness_is_as_prescribed(d, share, seed):
    prescribed = 1 + share * (math.sqrt(d) - 1)
    w = flat_dictionary(uniform_mask(12, 20, d, seed=seed), flatness=prescribed, seed=seed)
    np.testing.assert_allclose(flatness(w), prescribed, rtol=1e-9)
    np.testing.assert_allclose(w.column_norms, 1, rtol=1e-12)


def test_the_peak_of_a_flat_column_is_anywhere():
    w = flat_dictionary(uniform_mask(30, 4000, 5, seed=0), flatness=2.0, seed=0)
    places = np.bincount(np.abs(w.values).argmax(axis=1), minlength=5)
    assert places.min() > 700


def test_one_seed_gives_independent_masks_and_values():
    """A shared random stream would tie the sign of an entry to its row."""
    mask = uniform_mask(1024, 10_000, 1, seed=0)
    for values in (sign_dictionary(mask, seed=0).values, gaussian_dictionary(mask, seed=0).values):
        assert abs(np.corrcoef(np.sign(values[:, 0]), mask.rows[:, 0] >= 512)[0, 1]) < 0.05


def test_norms_neither_overflow_nor_vanish():
    w = gaussian_dictionary(uniform_mask(30, 20, 5, seed=0), seed=0)
    for power in (-200, 200):
        scaled = Dictionary(w.mask, w.values * 10.0**power)
        np.testing.assert_allclose(scaled.normalised().values, w.values, rtol=1e-12)
        np.testing.assert_allclose(scaled.column_norms, 10.0**power, rtol=1e-12)


def test_a_tie_is_not_certified_however_it_is_rounded():
    """Two equal columns: mu_1(1) + mu_1(0) = 1, which rounding puts on either side of 1."""
    columns = np.random.default_rng(0).standard_normal((50, 7))
    pairs = [DenseDictionary(np.stack([v, v])) for v in columns]
    assert min(coherence(w) for w in pairs) < 1
    assert {babel_certified_k(w) for w in pairs} == {0}


def test_sign_dictionaries_are_flat_and_use_both_signs():
    w = sign_dictionary(uniform_mask(30, 200, 5, seed=0), seed=1)
    np.testing.assert_allclose(np.abs(w.values), 1 / math.sqrt(5))
    assert 0.45 < (w.values > 0).mean() < 0.55


@given(masks(max_m=8, max_n=8), st.sampled_from(FAMILIES), st.integers(0, 3))
def test_babel_coherence_and_overlaps_agree_with_the_oracle(mask, family, seed):
    w = family(mask, seed=seed)
    matrix = w.to_dense()
    if mask.n > 1:
        expected = [oracles.babel(matrix, k) for k in range(1, mask.n)]
        np.testing.assert_allclose(babel(w, mask.n - 1), expected, atol=1e-12)
        np.testing.assert_allclose(babel(DenseDictionary(matrix.T.copy()), mask.n - 1), expected, atol=1e-12)
        assert coherence(w) == pytest.approx(expected[0])
        mu = [0.0, *expected, expected[-1]]
        met = [k for k in range(1, mask.n + 1) if mu[k] + mu[k - 1] < 1 - 1e-9]
        assert babel_certified_k(w) == max(met, default=0)
    overlaps = mask.to_scipy().T @ mask.to_scipy()
    pairs = overlaps.toarray()[np.triu_indices(mask.n, 1)].astype(int)
    np.testing.assert_array_equal(overlap_counts(mask), np.bincount(pairs, minlength=mask.d + 1))


def test_babel_of_non_unit_columns_is_that_of_the_normalised_ones():
    w = sign_dictionary(uniform_mask(9, 14, 3, seed=0), seed=0)
    scaled = Dictionary(w.mask, w.values * np.linspace(0.5, 3, 14)[:, None])
    np.testing.assert_allclose(babel(scaled, 5), babel(w, 5))


@pytest.mark.parametrize(("mu", "k"), [(1.0, 0), (0.5, 1), (1 / 3, 1), (0.33, 2), (0.2, 2), (0.19, 3), (1 / 7, 3)])
def test_coherence_certificate_is_strict(mu, k):
    """mu < 1/(2k - 1); equality is not enough (mutant of OMP-2: signed K_2k)."""
    assert coherence_certified_k(mu) == k


def test_the_sharp_example_of_omp2_is_not_certified():
    """Signed K_4: m = 6 edges, n = 4 vertices, d = 3, mu = 1/3: k = 2 is not identifiable."""
    from expander_theory import Mask

    edges = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    rows = np.array([[i for i, e in enumerate(edges) if v in e] for v in range(4)])
    values = np.array([[1.0 if edges[i][0] == v else -1.0 for i in rows[v]] for v in range(4)]) / math.sqrt(3)
    w = Dictionary(Mask(6, rows), values)
    np.testing.assert_allclose(w.matvec(np.ones(4)), 0, atol=1e-15)
    assert babel_certified_k(w) == 1
    assert coherence_certified_k(coherence(w)) == 1


@pytest.mark.parametrize("make", [lambda: sign_dictionary(uniform_mask(9, 7, 3, seed=0), seed=0),
                                  lambda: dense_gaussian_dictionary(5, 8, seed=0)])  # fmt: skip
def test_save_and_load(make, tmp_path):
    w = make()
    w.save(tmp_path / "w")
    loaded = load_dictionary(tmp_path / "w")
    assert type(loaded) is type(w)
    assert loaded.sha256 == w.sha256
    np.testing.assert_array_equal(loaded.to_dense(), w.to_dense())


def test_a_mask_file_is_no_dictionary(tmp_path):
    save_mask(uniform_mask(9, 7, 3, seed=0), tmp_path / "mask")
    with pytest.raises(InvalidFile, match="expected a dictionary"):
        load_dictionary(tmp_path / "mask")


MASK = uniform_mask(6, 5, 2, seed=0)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Dictionary(MASK, np.ones((5, 3))), "values"),
        (lambda: Dictionary(MASK, np.ones((5, 2), complex)), "values"),
        (lambda: Dictionary(MASK, np.full((5, 2), np.nan)), "values"),
        (lambda: Dictionary(MASK, np.zeros((5, 2))), "values"),
        (lambda: DenseDictionary(np.ones(3)), "columns"),
        (lambda: flat_dictionary(MASK, flatness=1.5, seed=0), "flatness"),
        (lambda: flat_dictionary(MASK, flatness=0.5, seed=0), "flatness"),
        (lambda: flat_dictionary(MASK, flatness=math.nan, seed=0), "flatness"),
        (lambda: sign_dictionary(MASK, seed=0).rmatvec(np.ones(5)), "h"),
        (lambda: sign_dictionary(MASK, seed=0).rmatvec(np.full(6, np.inf)), "h"),
        (lambda: sign_dictionary(MASK, seed=0).rmatvec(np.ones(6, complex)), "h"),
        (lambda: sign_dictionary(MASK, seed=0).matvec(np.ones(6)), "x"),
        (lambda: babel(sign_dictionary(MASK, seed=0), 5), "size"),
    ],
)
def test_bad_arguments_are_named(make, name):
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.name == name
