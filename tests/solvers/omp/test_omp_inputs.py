"""What OMP takes and refuses: scales, norms, dtypes, scipy and NumPy matrices, prepared dictionaries."""

import numpy as np
import pytest
import scipy.sparse
from support.cases.omp_cases import DTYPES, H, W, assert_same, codes, every_backend, of_kind

from expander_theory import DenseDictionary, Dictionary, InvalidArgument, RecoveryStatus, omp
from expander_theory._kernels.omp import tile as omp_tile
from expander_theory.dictionaries import as_dictionary
from expander_theory.solvers.omp.prepared import Prepared


@every_backend
@pytest.mark.parametrize("exponent", [-1060, -1000, -600, 600, 1000, 1020])
def test_powers_of_two_do_not_matter(masked, backend, exponent):
    """Signals whose squares overflow or vanish: the same code times the same power of two."""
    w = of_kind(W, masked)
    h = np.round(H * 2.0**10) / 2.0**10  # exact as subnormal numbers too
    plain, scaled = (omp(w, signals, 4, backend=backend, path=True) for signals in (h, np.ldexp(h, exponent)))
    np.testing.assert_array_equal(plain.indices, scaled.indices)
    np.testing.assert_array_equal(plain.status, scaled.status)
    np.testing.assert_array_equal(np.ldexp(plain.coefficients, exponent), scaled.coefficients)
    np.testing.assert_array_equal(np.ldexp(plain.path.coefficients, exponent), scaled.path.coefficients)
    np.testing.assert_array_equal(np.ldexp(plain.residual_norms, exponent), scaled.residual_norms)


@every_backend
@pytest.mark.parametrize(
    ("dtype", "scale"), [(np.float64, 1e-300), (np.float64, 1e300), (np.float32, 1e-40), (np.float32, 1e38)]
)
def test_any_scale(masked, backend, dtype, scale):
    """Of signals beside others, too: each is scaled by itself. At 1e-40 float32 itself has only 5 digits."""
    w, x = of_kind(W, masked), codes(90, 3, 20) / 4
    scales = np.where(np.arange(20) % 2, scale, 1.0)[:, None]
    expected = omp(w, W.matvec(x), 3, backend=backend)
    found = omp(w, (W.matvec(x) * scales).astype(dtype), 3, backend=backend)
    np.testing.assert_array_equal(found.indices, expected.indices)
    error = 1e-11 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(found.coefficients / scales, expected.coefficients, atol=error)
    np.testing.assert_allclose(found.residual_norms / scales[:, 0], expected.residual_norms, atol=error)


@every_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_of_any_norm(masked, backend, dtype):
    """The atoms of the unit columns, and coefficients of the columns as given: THEORY.md, H.7."""
    norms = 10.0 ** np.random.default_rng(0).uniform(-3, 3, 90)
    scaled = Dictionary(W.mask, W.values * norms[:, None])
    h = H.astype(dtype)
    unit, given = (omp(of_kind(w, masked), h, 7, backend=backend, path=True) for w in (W, scaled))
    np.testing.assert_array_equal(unit.indices, given.indices)
    error = 1e-11 if dtype == np.float64 else 1e-4
    factors = norms[given.indices]
    np.testing.assert_allclose(given.coefficients * factors, unit.coefficients, atol=error)
    np.testing.assert_allclose(given.path.coefficients * factors[:, None], unit.path.coefficients, atol=error)
    np.testing.assert_allclose(given.residual_norms, unit.residual_norms, rtol=error)
    residual = np.linalg.norm(H - given.to_dense() @ scaled.to_dense().T, axis=1)
    np.testing.assert_allclose(given.residual_norms, residual, rtol=1e-5)


def test_columns_of_less_precision_than_the_signals():
    """Columns in float32, not of unit norm, signals exactly in their span: the residual is that of float64."""
    w = Dictionary(W.mask, (3 * W.values).astype(np.float32))
    x = codes(90, 3, 20)
    found = omp(w, x @ w.to_dense().astype(np.float64).T, 3)
    assert (found.status == RecoveryStatus.RESIDUAL_SMALL).all()
    np.testing.assert_allclose(found.to_dense(), x, atol=1e-12)


def test_scipy_and_numpy_matrices_in_and_codes_out():
    expected = omp(W, H, 5)
    for matrix in (W.to_scipy(), W.to_scipy().tocsr(), W.to_scipy().tocoo()):
        assert_same(omp(matrix, H, 5), expected)
    dense = omp(of_kind(W, False), H, 5)
    for matrix in (W.to_dense(), W.to_dense().tolist(), np.asfortranarray(W.to_dense())):
        assert_same(omp(matrix, H, 5), dense)
    assert_same(omp(W, scipy.sparse.csr_array(H), 5), expected)
    assert_same(omp(W, scipy.sparse.coo_array(H.astype(np.float32)), 5), omp(W, H.astype(np.float32), 5))
    assert scipy.sparse.issparse(expected.to_scipy())
    assert (expected.to_scipy().format, expected.to_csc().format) == ("csr", "csc")
    for b in range(len(H)):
        code = np.zeros(90)
        code[expected.indices[b]] = expected.coefficients[b]
        np.testing.assert_array_equal(expected.to_scipy().toarray()[b], code)
        np.testing.assert_array_equal(expected.to_csc().toarray()[b], code)
        np.testing.assert_array_equal(expected.to_dense()[b], code)


@pytest.mark.parametrize("dtype", [int, np.int8, bool, np.float16, np.float32])
def test_matrices_of_other_numbers(dtype):
    matrix = (W.to_dense() != 0).astype(dtype)
    for given in (matrix, scipy.sparse.csc_array(matrix if dtype != np.float16 else matrix.astype(np.float32))):
        w = as_dictionary(given)
        assert w.dtype == (np.float32 if given.dtype == np.float32 else np.float64)
        np.testing.assert_array_equal(w.to_dense(), matrix)
        np.testing.assert_array_equal(omp(given, H, 3, backend="plain").indices, omp(w, H, 3, backend="plain").indices)


def test_an_irregular_sparse_matrix_keeps_its_nonzeros():
    """Columns are filled up with stored zeros; stored zeros and repeated entries of the matrix do not count."""
    rows, columns = [0, 1, 2, 3, 5, 3, 3, 4, 4], [0, 0, 1, 2, 2, 2, 2, 3, 3]
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 0.0, 2.0, 5.0]
    given = scipy.sparse.coo_array((values, (rows, columns)), shape=(6, 4))
    w = as_dictionary(given)
    assert isinstance(w, Dictionary)
    assert w.d == 2
    np.testing.assert_array_equal(w.to_dense(), given.toarray())
    columns = given.tocsc()
    columns.data[0] = 0
    before = columns.data.copy(), columns.indices.copy(), columns.indptr.copy()
    as_dictionary(columns)
    for array, expected in zip((columns.data, columns.indices, columns.indptr), before, strict=True):
        np.testing.assert_array_equal(array, expected)  # what was given is left alone
    full = as_dictionary(scipy.sparse.coo_array(np.ones((3, 4))))
    assert isinstance(full, DenseDictionary)
    np.testing.assert_array_equal(full.to_dense(), np.ones((3, 4)))


@pytest.mark.parametrize(
    ("masked", "backend", "kept"), [(True, "push", "row_lists"), (True, "gram", "gram"), (False, "gram", "gram")]
)
def test_prepared_keeps_what_a_backend_derives(masked, backend, kept):
    prepared = Prepared(of_kind(W, masked), np.float64)
    before = prepared.nbytes
    found = omp(prepared, H, 5, backend=backend)
    derived = vars(prepared)[kept]
    assert prepared.nbytes > before
    assert_same(omp(prepared, H, 5, backend=backend), found)
    assert vars(prepared)[kept] is derived
    assert_same(omp(of_kind(W, masked), H, 5, backend=backend), found)
    shared = Prepared(of_kind(W, masked), np.float64)
    shared.derive(backend)
    assert shared.nbytes == prepared.nbytes
    with pytest.raises(InvalidArgument, match="signals = array of float32: must be float64, as was prepared"):
        omp(prepared, H.astype(np.float32), 5)


def test_bytes_of_a_prepared_dictionary():
    """Each array counts once: values, rows; nonzeros by row with starts and middles; padding to whole blocks."""
    prepared = Prepared(W, np.float64)
    nonzeros = 90 * 5
    assert prepared.nbytes == nonzeros * (8 + 4)
    prepared.derive("push")
    assert prepared.nbytes == (nonzeros + 96 * 5) * (8 + 4) + nonzeros * (8 + 4) + (41 + 40) * 8


@every_backend
def test_no_signals(masked, backend):
    found = omp(of_kind(W, masked), np.empty((0, 40)), 3, backend=backend, n_jobs=2)
    assert found.indices.shape == found.coefficients.shape == (0, 3)
    assert found.to_scipy().shape == (0, 90)
    path = omp(of_kind(W, masked), np.empty((0, 40)), 3, backend=backend, path=True).path
    assert path is None or path.coefficients.shape == (0, 3, 3)


def test_kernels_are_compiled_once_whatever_arrays_are_given():
    omp(W, H, 2, backend="tile")
    compiled = len(omp_tile.omp_tile.signatures)
    ks, atoms = np.full(len(H), 2, np.int32), np.zeros((len(H), 1), np.int32)
    for array in (ks, atoms):
        array.flags.writeable = False
    omp(W, H, ks, preselected=atoms, planted=atoms, n_jobs=2, backend="tile")
    omp(W, np.asfortranarray(H), 2, preselected=atoms[0], path=True, backend="tile")
    omp(W, H * np.logspace(-320, 300, len(H))[:, None], 2, backend="tile")
    assert len(omp_tile.omp_tile.signatures) == compiled


def test_a_single_vector_is_a_batch_of_one():
    assert_same(omp(W, H[0], 3), omp(W, H[:1], 3))
    assert omp(W, H[0].astype(np.float32), 3).coefficients.dtype == np.float32


def test_float32_selects_the_same():
    h = W.matvec(codes(90, 4, 60))
    single, double = omp(W, h.astype(np.float32), 4), omp(W, h, 4)
    np.testing.assert_array_equal(single.indices, double.indices)
    np.testing.assert_allclose(single.coefficients, double.coefficients, atol=1e-4)


ONES = np.ones((2, 40))


@pytest.mark.parametrize(
    ("signals", "k", "options", "message"),
    [
        (ONES, 41, {}, "k = 41: must be an integer between 1 and min(m, n) = 40, or one for each of the 2 signals"),
        (ONES, 0, {}, "k = 0: must be an integer between 1"),
        (ONES, 1.5, {}, "k = 1.5: must be an integer"),
        (ONES, True, {}, "k = True: must be an integer"),
        (ONES, [1, 2, 3], {}, "k = [1, 2, 3]: must be"),
        (ONES, [1, 0], {}, "k = [1, 0]: must be"),
        (ONES, [[1, 2]], {}, "k = [[1, 2]]: must be"),
        (ONES, 2, {"relative_tolerance": -1.0}, "relative_tolerance = -1.0: must be in [0, 1)"),
        (ONES, 2, {"relative_tolerance": 1.0}, "relative_tolerance = 1.0: must be in [0, 1)"),
        (ONES, 2, {"relative_tolerance": np.nan}, "relative_tolerance = nan: must be in [0, 1)"),
        (ONES, 2, {"selection": "largest"}, "selection = 'largest': must be one of magnitude, signed, nonnegative"),
        (ONES, 2, {"selection": "nonnegative", "backend": "tile"}, "backend = 'tile': must be plain (or auto)"),
        (ONES, 2, {"preselected": [1, 1]}, "preselected = [1]: must not repeat an atom"),
        (ONES, 2, {"preselected": [90]}, "preselected = [90]: must lie in 0..89, or be -1 for none"),
        (ONES, 2, {"preselected": [-2]}, "preselected = [-2]: must lie in 0..89, or be -1 for none"),
        (ONES, 2, {"preselected": [1, 2, 3]}, "preselected = up to 3 atoms: must be at most k"),
        (ONES, [2, 1], {"preselected": [1, 2]}, "preselected = up to 2 atoms: must be at most k"),
        (ONES, 2, {"preselected": [-1, 2]}, "preselected = an atom after -1: must have -1 only after the last atom"),
        (ONES, 2, {"preselected": [0.5]}, "preselected = array of float64: must be integers"),
        (ONES, 2, {"preselected": 3}, "preselected = array of shape (): must have shape (p,) or (2, p)"),
        (ONES, 2, {"preselected": [[1], [2], [3]]}, "preselected = array of shape (3, 1): must have shape (p,) or (2,"),
        (ONES, 2, {"planted": [[1], [2], [3]]}, "planted = array of shape (3, 1): must have shape (p,) or (2, p)"),
        (ONES, 2, {"planted": np.zeros((2, 1, 1), int)}, "planted = array of shape (2, 1, 1): must have shape"),
        (ONES, 2, {"planted": [[3, 3], [1, 2]]}, "planted = [3]: must not repeat an atom"),
        (ONES, 2, {"planted": [90]}, "planted = [90]: must lie in 0..89"),
        (ONES, 2, {"n_jobs": 0}, "n_jobs = 0: must be at least 1, or -1 for all processors"),
        (ONES, 2, {"n_jobs": -2}, "n_jobs = -2: must be at least 1, or -1"),
        (ONES, 2, {"n_jobs": 1.5}, "n_jobs = 1.5: must be an integer"),
        (np.ones(39), 1, {}, "signals = array of shape (39,): must have shape (batch, 40) or (40,)"),
        (np.ones((2, 2, 40)), 1, {}, "signals = array of shape (2, 2, 40): must have shape"),
        (np.ones(40, complex), 1, {}, "signals = array of complex128: must be real numbers"),
        (np.array(["a"] * 40), 1, {}, "signals = array of <U1: must be real numbers"),
        (np.array([[1.0] * 40, [1.0] * 39 + [np.nan]]), 1, {}, "signals = array with NaN or infinity in row 1"),
        (np.array([1.0] * 39 + [-np.inf]), 1, {}, "signals = array with NaN or infinity in row 0: must be finite"),
        (scipy.sparse.csr_array(np.ones((2, 39))), 1, {}, "signals = array of shape (2, 39): must have shape"),
    ],
)
def test_bad_arguments_are_named(signals, k, options, message):
    with pytest.raises(InvalidArgument) as caught:
        omp(W, signals, k, **options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones(3), "dictionary = array of shape (3,): must be an (m, n) matrix"),
        (np.eye(3) * 1j, "dictionary = array of complex128: must be real numbers"),
        (scipy.sparse.eye_array(3) * 1j, "dictionary = array of complex128: must be real numbers"),
        ([["a"]], "dictionary = array of <U1: must be real numbers"),
        (np.ones((2, 2, 2)), "dictionary = array of shape (2, 2, 2): must be an (m, n) matrix"),
        (np.eye(3)[:, [0, 1, 1]] * [1, 0, 1], "values = array whose column 1 is zero: must have no zero column"),
        (np.full((2, 2), np.nan), "values = array with NaN or infinity: must be finite"),
        (scipy.sparse.csc_array(np.diag([1.0, 0, 2])), "dictionary = matrix whose column 1 is zero: must have none"),
        (scipy.sparse.coo_array(([0.0, 1], ([0, 1], [0, 1])), shape=(2, 2)), "dictionary = matrix whose column 0 is"),
        (scipy.sparse.csr_array(np.diag([1.0, np.inf, 2])), "values = array with NaN or infinity: must be finite"),
        (scipy.sparse.csr_array((3, 0)), "dictionary = matrix of shape (3, 0): must have rows and columns"),
    ],
)
def test_bad_dictionaries_are_named(matrix, message):
    with pytest.raises(InvalidArgument) as caught:
        omp(matrix, np.ones(3), 1)
    assert str(caught.value).startswith(message)
