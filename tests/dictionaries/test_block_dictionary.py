"""Block dictionaries against the dense matrix that they are, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from expander_theory import (
    BlockDictionary,
    DenseDictionary,
    Dictionary,
    Ensemble,
    InvalidArgument,
    InvalidFile,
    babel,
    babel_certified_k,
    block_gaussian_dictionary,
    coherence,
    dense_gaussian_dictionary,
    flatness,
    gaussian_dictionary,
    load_dictionary,
    uniform_mask,
)
from expander_theory.dictionaries import dictionary_measures
from expander_theory.results.files import read_arrays, write_arrays

MASK = uniform_mask(9, 14, 3, seed=0)


def blocks(r=4, seed=0, mask=MASK):
    return block_gaussian_dictionary(mask, r, seed=seed)


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(2, 30), st.data())
def test_every_call_is_that_of_the_dense_matrix(m, n, data):
    r, d, seed = data.draw(st.integers(1, n - 1)), data.draw(st.integers(1, m)), data.draw(st.integers(0, 3))
    w = blocks(r, seed, uniform_mask(m, n, d, seed=seed))
    matrix = w.to_dense()
    assert isinstance(w, BlockDictionary)
    assert matrix.shape == (w.m, w.n) == (m, n)
    assert (w.r, w.masked.n, w.masked.d) == (r, n - r, d)
    np.testing.assert_array_equal(matrix[:, :r], w.dense.to_dense())
    np.testing.assert_array_equal(matrix[:, r:], w.masked.to_dense())
    np.testing.assert_array_equal(w.densified().to_dense(), matrix)
    np.testing.assert_array_equal(w.to_scipy().toarray(), matrix)
    rng = np.random.default_rng(seed)
    x, h = rng.standard_normal((3, n)), rng.standard_normal((3, m))
    np.testing.assert_allclose(w.matvec(x), x @ matrix.T, atol=1e-12)
    np.testing.assert_allclose(w.matvec(x[0]), x[0] @ matrix.T, atol=1e-12)
    np.testing.assert_allclose(w.rmatvec(h), h @ matrix, atol=1e-12)
    np.testing.assert_allclose(w.rmatvec(h[0]), h[0] @ matrix, atol=1e-12)
    np.testing.assert_allclose(w.gram(), matrix.T @ matrix, atol=1e-12)
    np.testing.assert_allclose(w.column_norms, 1, atol=1e-12)


def test_unequal_columns_are_normalised_and_dtypes_kept():
    w = blocks()
    scaled = BlockDictionary(
        DenseDictionary(w.dense.columns * np.linspace(0.5, 3, 4)[:, None]),
        Dictionary(w.masked.mask, w.masked.values * np.linspace(2, 5, 10)[:, None]),
    )
    np.testing.assert_allclose(scaled.column_norms, np.r_[np.linspace(0.5, 3, 4), np.linspace(2, 5, 10)])
    np.testing.assert_allclose(scaled.normalised().to_dense(), w.to_dense(), atol=1e-12)
    single = w.astype(np.float32)
    assert single.dtype == single.dense.dtype == single.masked.dtype == np.float32
    assert single.astype(np.float32) is single
    assert single.rmatvec(np.ones(9, np.float32)).dtype == np.float32


def test_no_dense_column_and_dense_columns_alone_are_the_other_kinds():
    w = blocks(0)
    assert isinstance(w, Dictionary)
    assert w.sha256 == gaussian_dictionary(MASK, seed=0).sha256
    w = blocks(14)
    assert isinstance(w, DenseDictionary)
    assert w.sha256 == dense_gaussian_dictionary(9, 14, seed=0).sha256


def test_geometry_is_that_of_the_dense_matrix():
    w = blocks()
    same = w.densified()
    np.testing.assert_allclose(babel(w, 13), babel(same, 13))
    assert coherence(w) == pytest.approx(coherence(same))
    assert babel_certified_k(w) == babel_certified_k(same)
    np.testing.assert_allclose(flatness(w), np.r_[flatness(w.dense), flatness(w.masked)])
    found = dictionary_measures(w)
    assert (found["dense columns r"], found["d"], found["decoder values"]) == (4, 3, 4 * 9 + 10 * 3)


def test_save_and_load(tmp_path):
    w = blocks()
    w.save(tmp_path / "w")
    loaded = load_dictionary(tmp_path / "w")
    assert isinstance(loaded, BlockDictionary)
    assert loaded.sha256 == w.sha256 != blocks(seed=1).sha256
    assert loaded.masked.mask.recipe == w.masked.mask.recipe
    np.testing.assert_array_equal(loaded.to_dense(), w.to_dense())


@pytest.mark.parametrize("name", ["columns", "rows", "values"])
def test_a_file_without_a_part_is_refused(tmp_path, name):
    blocks().save(tmp_path / "w")
    fields, arrays = read_arrays(tmp_path / "w", "block-dictionary", 1)
    del arrays[name]
    write_arrays(tmp_path / "w", "block-dictionary", 1, fields, arrays)
    with pytest.raises(InvalidFile, match=f"it holds no {name}"):
        load_dictionary(tmp_path / "w")


def test_parts_that_do_not_fit_in_a_file_are_refused(tmp_path):
    blocks().save(tmp_path / "w")
    fields, arrays = read_arrays(tmp_path / "w", "block-dictionary", 1)
    write_arrays(tmp_path / "w", "block-dictionary", 1, fields, {**arrays, "columns": np.ones((2, 8))})
    with pytest.raises(InvalidFile, match="masked = of m = 9 rows: must have m = 8"):
        load_dictionary(tmp_path / "w")


W = blocks()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: blocks(15), "r = 15: must be between 0 and n = 14"),
        (lambda: blocks(-1), "r = -1: must be between 0 and n = 14"),
        (lambda: BlockDictionary(W.masked, W.masked), "dense = a Dictionary: must be a DenseDictionary"),
        (lambda: BlockDictionary(W.dense, W.dense), "masked = a DenseDictionary: must be a Dictionary"),
        (
            lambda: BlockDictionary(DenseDictionary(np.ones((2, 8))), W.masked),
            "masked = of m = 9 rows: must have m = 8",
        ),
        (lambda: BlockDictionary(W.dense.astype(np.float32), W.masked), "masked = of float64: must be of float32"),
        (lambda: W.matvec(np.ones(13)), "x = array of shape"),
        (lambda: W.rmatvec(np.ones(8)), "h = array of shape"),
    ],
)
def test_bad_input_is_named(make, says):
    with pytest.raises(InvalidArgument, match=says):
        make()


def test_an_ensemble_has_one_number_of_nonzeros(tmp_path):
    W.save(tmp_path / "w")
    with pytest.raises(InvalidFile, match="holds a block dictionary"):
        Ensemble.from_file(tmp_path / "w")
