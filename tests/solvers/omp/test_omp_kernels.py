"""The vector loops under OMP, against NumPy, and the transposed order of the nonzeros, against scipy."""

import numpy as np
import pytest
import scipy.sparse

from expander_theory import gaussian_dictionary, sign_dictionary, uniform_mask
from expander_theory._kernels.linear import screens, vectors
from expander_theory._kernels.linear.row_lists import row_lists

DTYPES = [np.float64, np.float32]
SIZES = [(1, 1, 1), (9, 1, 3), (30, 77, 5), (30, 64, 30), (200, 500, 7)]


def problem(m, n, d, dtype, seed=0):
    """Rows, values and a tile of residuals; the correlations (n, lanes) in float64."""
    w = gaussian_dictionary(uniform_mask(m, n, d, seed=seed), seed=seed).astype(dtype)
    tile = vectors.aligned((m, vectors.lanes_of(dtype)), dtype)
    tile[:] = np.random.default_rng(seed).standard_normal(tile.shape)
    return w.mask.rows, w.values, tile, w.to_dense().astype(np.float64).T @ tile.astype(np.float64)


def error_of(dtype):
    return 1e-13 if dtype == np.float64 else 1e-5


def test_tiles_are_two_cache_lines_wide_and_aligned():
    assert [vectors.lanes_of(dtype) for dtype in DTYPES] == [16, 32]
    for shape, dtype in [((3, 16), np.float64), (7, np.int32), ((1, 32), np.float32)]:
        array = vectors.aligned(shape, dtype)
        assert array.shape == (np.zeros(shape).shape)
        assert array.dtype == dtype
        assert array.ctypes.data % 64 == 0
        assert array.flags.c_contiguous


def screened(rows, values, tile, signed):
    """Peaks by block, the largest score of each lane, and the correlations that the scores stand for, in their unit."""
    lanes = tile.shape[1]
    norms, factors = np.linalg.norm(tile.astype(float), axis=0), vectors.aligned(lanes, tile.dtype)
    factors[:] = screens.room(rows.shape[1]) / np.where(norms > 0, norms, np.inf)
    words, top = vectors.aligned(tile.shape, np.int16), vectors.aligned(lanes, np.int16)
    peaks = vectors.aligned((-(-len(rows) // screens.BLOCK), lanes), np.int16)
    screens.to_words(tile, factors, words)
    np.testing.assert_array_equal(words, np.rint(tile * factors))
    screens.screen(rows, screens.words(values), words, signed, peaks, top, tile)
    np.testing.assert_array_equal(top, peaks.max(axis=0))
    exact = np.einsum("ji,jil->jl", values.astype(float), (tile * factors)[rows]) * screens.FULL / 2**16
    return peaks, top, exact if signed else np.abs(exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n", "d"), SIZES)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("one", [True, False])
def test_a_screen_is_right_up_to_its_error(m, n, d, dtype, signed, one):
    """Of Gaussian residuals, and of such that equal a column or its opposite: the largest score there is."""
    rows, values, tile, _ = problem(m, n, d, dtype)
    if one:
        tile[:] = 0
        for lane in range(tile.shape[1]):
            tile[rows[lane % n], lane] = values[lane % n] * (-1) ** lane
    peaks, top, exact = screened(rows, values, tile, signed)
    padded = np.full((len(peaks) * screens.BLOCK, tile.shape[1]), -np.inf)
    padded[:n] = exact
    blocks = padded.reshape(len(peaks), screens.BLOCK, -1).max(axis=1)
    assert np.abs(blocks - peaks).max() <= screens.error(d)
    assert (top >= exact.max(axis=0) - screens.error(d)).all()


def test_a_screen_without_room_excludes_no_column():
    """So large a d that products could overflow: every score is the same."""
    d = 9000
    rows, values = np.arange(d, dtype=np.int32)[None], np.full((1, d), d**-0.5, np.float32)
    tile = vectors.aligned((d, 32), np.float32)
    tile[:] = np.random.default_rng(0).standard_normal(tile.shape)
    peaks, top, _ = screened(np.repeat(rows, 20, axis=0), np.repeat(values, 20, axis=0), tile, False)
    assert (peaks == top).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_lanes_in_which_a_block_reaches_a_bound(dtype):
    tile = np.zeros((1, vectors.lanes_of(dtype)), dtype)
    rng = np.random.default_rng(0)
    peaks, least = rng.integers(-3, 4, (50, tile.shape[1])).astype(np.int16), np.zeros(tile.shape[1], np.int16)
    least[-1] = 1
    out = np.zeros(50, np.uint32)
    screens.reached(peaks, least, out, tile)
    bits = out[:, None] >> np.arange(tile.shape[1], dtype=np.uint32) & 1
    np.testing.assert_array_equal(bits, peaks >= least)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n", "d"), [(9, 16, 3), (30, 64, 30), (200, 512, 7)])
def test_correlations_of_all_lanes_and_of_one_are_the_same_bits(m, n, d, dtype):
    """So a signal's scores do not depend on how many are solved beside it."""
    rows, values, tile, expected = problem(m, n, d, dtype)
    every, single = (np.full((tile.shape[1], n), np.nan, dtype) for _ in range(2))
    vectors.correlations(rows, values, tile, every)
    np.testing.assert_allclose(every, expected.T, atol=error_of(dtype))
    for lane in range(tile.shape[1]):
        vectors.correlations_one(rows, values, tile, lane, single)
        assert np.isnan(single[lane + 1 :]).all()
    np.testing.assert_array_equal(every.view(np.uint8), single.view(np.uint8))
    wide = np.full((tile.shape[1], n + 3), np.nan, dtype)
    vectors.correlations_one(rows, values, tile, 1, wide)
    np.testing.assert_array_equal(wide[1, :n], single[1])
    assert np.isnan(wide[1, n:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 17, 77])
def test_correlations_of_one_lane_for_any_number_of_columns(n, dtype):
    rows, values, tile, expected = problem(30, n, 5, dtype)
    out = np.zeros((tile.shape[1], n), dtype)
    vectors.correlations_one(rows, values, tile, 3, out)
    np.testing.assert_allclose(out[3], expected[:, 3], atol=error_of(dtype))
    assert not np.delete(out, 3, axis=0).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 30, 1000])
def test_squared_norms(m, dtype):
    tile = np.random.default_rng(m).standard_normal((m, vectors.lanes_of(dtype))).astype(dtype)
    out = np.empty(tile.shape[1], dtype)
    vectors.squared_norms(tile, out)
    np.testing.assert_allclose(out, (tile.astype(np.float64) ** 2).sum(axis=0), rtol=error_of(dtype))


@pytest.mark.parametrize("count", [0, 1, 6])
@pytest.mark.parametrize("blocks", [1, 3])
def test_combine(count, blocks):
    """Any half-precision numbers, subnormal ones too; of rows and weights only the first ``count`` are read."""
    width, rng = blocks * vectors.COMBINED, np.random.default_rng(count)
    halves = (rng.standard_normal((9, width)) * 10.0 ** rng.integers(-7, 3, (9, width))).astype(np.float16)
    rows, weights = rng.permutation(9)[:7].astype(np.int64), rng.standard_normal(7).astype(np.float32)
    start, out = rng.standard_normal(width).astype(np.float32), np.full(width, np.nan, np.float32)
    vectors.combine(halves.view(np.uint16), rows, weights, count, start, out)
    terms = weights[:count, None].astype(np.float64) * halves[rows[:count]].astype(np.float64)
    error = 1e-6 * (np.abs(start) + np.abs(terms).sum(axis=0))
    assert (np.abs(out - (start - terms.sum(axis=0))) <= error).all()


@pytest.mark.parametrize(("m", "n", "d"), SIZES)
def test_row_lists_are_the_compressed_rows(m, n, d):
    w = gaussian_dictionary(uniform_mask(m, n, d, seed=0), seed=0)
    starts, middles, columns, weights = row_lists(w.mask.rows, w.values, m, False)
    rows = scipy.sparse.csr_array(w.to_scipy())
    rows.sort_indices()
    np.testing.assert_array_equal(starts, rows.indptr)
    np.testing.assert_array_equal(middles, rows.indptr[1:])
    np.testing.assert_array_equal(columns, rows.indices)
    np.testing.assert_array_equal(weights, rows.data)


@pytest.mark.parametrize(("m", "n", "d"), SIZES)
def test_row_lists_by_sign(m, n, d):
    """The positive columns of a row, increasing, then the negative ones."""
    w = sign_dictionary(uniform_mask(m, n, d, seed=0), seed=0)
    dense = w.to_dense()
    starts, middles, columns, weights = row_lists(w.mask.rows, w.values, m, True)
    for i in range(m):
        assert columns[starts[i] : middles[i]].tolist() == np.nonzero(dense[i] > 0)[0].tolist()
        assert columns[middles[i] : starts[i + 1]].tolist() == np.nonzero(dense[i] < 0)[0].tolist()
        np.testing.assert_array_equal(weights[starts[i] : starts[i + 1]], dense[i, columns[starts[i] : starts[i + 1]]])
    assert starts[-1] == columns.size == n * d
