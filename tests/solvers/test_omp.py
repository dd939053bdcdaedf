"""The options of OMP, its stop reasons, scales, and what it refuses."""

import numpy as np
import omp_oracle
import pytest
import scipy.sparse
from scipy.optimize import nnls

from expander_theory import (
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    Mask,
    RecoveryStatus,
    babel_certified_k,
    gaussian_dictionary,
    omp,
    polynomial_mask,
    sign_dictionary,
    sparse_code,
    uniform_mask,
)
from expander_theory._kernels import omp_tile
from expander_theory.solvers.designs import DENSE_DESIGNS, MASKED_DESIGNS
from expander_theory.solvers.prepared import Prepared, as_dictionary

EVERY_DESIGN = [(True, design) for design in MASKED_DESIGNS] + [(False, design) for design in DENSE_DESIGNS]
every_design = pytest.mark.parametrize(("masked", "design"), EVERY_DESIGN)

W = gaussian_dictionary(uniform_mask(40, 90, 5, seed=0), seed=0)
H = np.random.default_rng(0).standard_normal((37, 40))


def of_kind(w, masked):
    return w if masked else DenseDictionary(w.to_dense().T)


def codes(n, k, count, seed=0):
    return np.stack([sparse_code(n, k, seed=seed * 10_000 + t) for t in range(count)])


def assert_same(found, expected):
    for name in ("indices", "coefficients", "steps", "status", "residual_norms"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def drawn_options(rng, n, k, batch):
    """k of each signal and any of the options, or none."""
    ks = rng.integers(1, k + 1, batch) if rng.integers(2) else k
    options = {"selection": str(rng.choice(["magnitude", "signed"]))}
    if rng.integers(2):
        first = np.stack([rng.permutation(n)[: np.min(ks)] for _ in range(batch)])
        first[np.arange(first.shape[1]) >= rng.integers(0, first.shape[1] + 1, (batch, 1))] = -1
        options["preselected"] = first
    if rng.integers(3) == 0:
        options["planted"] = np.stack([rng.permutation(n)[: n // 2] for _ in range(batch)])
    if rng.integers(2):
        options["relative_tolerance"] = float(rng.choice([0.01, 0.1, 0.3]))
    return ks, options


@every_design
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_options_together(masked, design, dtype):
    """30 problems with drawn options against the definition; wide and narrow dictionaries."""
    rng, signals, left_out = np.random.default_rng(1), 0, 0
    for seed in range(30):
        m, n = int(rng.integers(8, 50)), int(rng.integers(2, 120))
        w = gaussian_dictionary(uniform_mask(m, n, int(rng.integers(3, 8)), seed=seed), seed=seed)
        k = min(m, n, int(rng.integers(1, 9)))
        h = rng.standard_normal((9, m)).astype(dtype)
        ks, options = drawn_options(rng, n, k, len(h))
        found = omp(of_kind(w, masked), h, ks, design=design, path=True, **options)
        answers = omp_oracle.omp_batch(w.to_dense(), h, ks, dtype=dtype, **options)
        left_out += omp_oracle.check(found, answers, h)
        signals += len(h)
    assert left_out <= 0.03 * signals


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("masked", [True, False])
def test_nonnegative(masked, dtype):
    """The definition with scipy's nonnegative least squares; among the chosen atoms no code fits better."""
    rng, left_out = np.random.default_rng(2), 0
    for seed in range(15):
        m, n = int(rng.integers(8, 50)), int(rng.integers(5, 120))
        w = gaussian_dictionary(uniform_mask(m, n, int(rng.integers(2, 8)), seed=seed), seed=seed)
        k = min(m, n, int(rng.integers(1, 15)))
        h = (w.matvec(np.abs(codes(n, k, 9))) + 0.3 * rng.standard_normal((9, m))).astype(dtype)
        ks, options = drawn_options(rng, n, k, len(h))
        options["selection"] = "nonnegative"
        found = omp(of_kind(w, masked), h, ks, path=True, **options)
        answers = omp_oracle.omp_batch(w.to_dense(), h, ks, dtype=dtype, **options)
        left_out += omp_oracle.check(found, answers, h)
        assert (found.coefficients >= 0).all()
        assert (found.path.coefficients >= 0).all()
        for b in range(9):
            columns = w.to_dense()[:, found.indices[b, : found.steps[b]]]
            least = nnls(columns, h[b].astype(float))[1] if columns.size else np.linalg.norm(h[b])
            assert found.residual_norms[b] == pytest.approx(least, rel=1e-5)
    assert left_out <= 0.03 * 15 * 9


def test_nonnegative_differs_from_signed_where_a_coefficient_would_be_negative():
    signed, nonnegative = (omp(W, H, 20, selection=selection) for selection in ("signed", "nonnegative"))
    assert (signed.coefficients < 0).any()
    assert (nonnegative.coefficients == 0)[np.arange(20) < nonnegative.steps[:, None]].any()
    both = (signed.coefficients >= 0).all(axis=1) & (signed.steps == 3)
    np.testing.assert_allclose(signed.coefficients[both], nonnegative.coefficients[both], atol=1e-10)


def test_nonnegative_with_atoms_that_do_not_meet_the_signal():
    """Preselected atoms that h opposes, or that are orthogonal to it, get coefficient 0."""
    w = Dictionary(Mask(6, np.array([[0, 1], [2, 3], [4, 5]])), np.full((3, 2), np.sqrt(0.5)))
    found = omp(w, np.array([2.0, 1, -1, -1, 1, -1]), 3, selection="nonnegative", preselected=[1, 2, 0])
    assert found.indices.tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(found.coefficients, [[0, 0, 3 * np.sqrt(0.5)]], atol=1e-15)


@every_design
def test_signed_stops_when_all_other_atoms_point_away(masked, design):
    """Not at a chosen atom whose correlation rounding has left positive, the first one included."""
    w = gaussian_dictionary(uniform_mask(6, 2, 4, seed=0), seed=0)
    h = np.random.default_rng(0).standard_normal((200, 6))
    answers = omp_oracle.omp_batch(w.to_dense(), h, 2, selection="signed")
    found = omp(of_kind(w, masked), h, 2, selection="signed", design=design)
    assert omp_oracle.check(found, answers, h) == 0
    stopped = found.status == RecoveryStatus.NO_CORRELATION
    assert (stopped & (found.indices[:, 0] == 0)).sum() > 10


@every_design
def test_preselected_atoms_come_first(masked, design):
    """They are taken in their order, count among k, and what follows is what their least squares leaves."""
    w = of_kind(W, masked)
    found = omp(w, H, 6, preselected=[50, 3, 7], design=design)
    assert (found.indices[:, :3] == [50, 3, 7]).all()
    assert (found.steps == 6).all()
    only = omp(w, H, 3, preselected=[50, 3, 7], design=design)
    columns = W.to_dense()[:, [50, 3, 7]]
    np.testing.assert_allclose(only.coefficients, np.linalg.lstsq(columns, H.T, rcond=None)[0].T, atol=1e-12)
    left = H - only.to_dense() @ W.to_dense().T
    np.testing.assert_array_equal(found.indices[:, 3], np.abs(left @ W.to_dense()).argmax(axis=1))


@every_design
def test_what_was_found_can_be_continued(masked, design):
    """The first steps preselected: the same atoms and codes as in one run."""
    w = of_kind(W, masked)
    whole, first = omp(w, H, 9, design=design), omp(w, H, 4, design=design)
    rest = omp(w, H, 9, preselected=first.indices, design=design)
    np.testing.assert_array_equal(rest.indices, whole.indices)
    np.testing.assert_allclose(rest.coefficients, whole.coefficients, atol=1e-12)
    each = [[0, 1], [2, -1], [-1, -1]]
    found = omp(w, H[:3], 2, preselected=each, design=design)
    assert found.indices[0].tolist() == [0, 1]
    assert found.indices[1, 0] == 2
    assert found.indices[2].tolist() == omp(w, H[2], 2, design=design).indices[0].tolist()


@every_design
def test_one_k_for_each_signal(masked, design):
    """As if each was solved by itself, up to the rounding of matrix products."""
    ks = np.random.default_rng(0).integers(1, 12, len(H))
    found = omp(of_kind(W, masked), H, ks, design=design, path=True)
    assert found.indices.shape == (len(H), ks.max())
    np.testing.assert_array_equal(found.steps, ks)
    for b, k in enumerate(ks):
        alone = omp(of_kind(W, masked), H[b], int(k), design=design, path=True)
        np.testing.assert_array_equal(found.indices[b, :k], alone.indices[0])
        np.testing.assert_allclose(found.coefficients[b, :k], alone.coefficients[0], atol=1e-12)
        np.testing.assert_allclose(found.path.coefficients[b, :k, :k], alone.path.coefficients[0], atol=1e-12)
        np.testing.assert_allclose(found.path.residual_norms[b, :k], alone.path.residual_norms[0], atol=1e-12)


@every_design
def test_early_stop_at_the_first_wrong_atom(masked, design):
    """The same atoms as without, up to the first outside the support; none where the code is recovered."""
    w = of_kind(W, masked)
    x = codes(90, 9, 150)
    supports = np.nonzero(x)[1].reshape(150, 9)
    h = W.matvec(x)
    full, early = omp(w, h, 9, design=design), omp(w, h, 9, planted=supports, design=design)
    recovered = np.array([set(full.indices[b]) == set(supports[b]) for b in range(150)])
    assert 10 < recovered.sum() < 140
    np.testing.assert_array_equal(early.status == RecoveryStatus.FIRST_MISS, ~recovered)
    for b in range(150):
        good = [atom in supports[b] for atom in full.indices[b]]
        expected = 9 if recovered[b] else good.index(False)
        assert early.steps[b] == expected
        assert early.indices[b, :expected].tolist() == full.indices[b, :expected].tolist()
    np.testing.assert_allclose(early.to_dense()[recovered], x[recovered], atol=1e-10)
    left = np.linalg.norm(h - early.to_dense() @ W.to_dense().T, axis=1)
    np.testing.assert_allclose(early.residual_norms, left, atol=1e-10)
    filled = np.sort(np.pad(supports, ((0, 0), (0, 3)), constant_values=-1), axis=1)  # -1 anywhere, as in supports
    assert_same(omp(w, h, 9, planted=filled, design=design), early)


@every_design
def test_the_path_is_every_shorter_run(masked, design):
    w = of_kind(W, masked)
    found = omp(w, H, 8, path=True, design=design)
    assert omp(w, H, 8, design=design).path is None
    assert found.path.coefficients.shape == (len(H), 8, 8)
    for t in range(8):
        shorter = omp(w, H, t + 1, design=design)
        np.testing.assert_array_equal(found.indices[:, : t + 1], shorter.indices)
        np.testing.assert_allclose(found.path.coefficients[:, t, : t + 1], shorter.coefficients, atol=1e-11)
        np.testing.assert_allclose(found.path.residual_norms[:, t], shorter.residual_norms, rtol=1e-11)
    np.testing.assert_array_equal(found.path.coefficients[:, 7], found.coefficients)
    np.testing.assert_array_equal(found.path.residual_norms[:, 7], found.residual_norms)


@every_design
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_stop_reasons(masked, design, dtype):
    def solve(w, h, k, **options):
        found = omp(of_kind(w, masked), np.asarray(h, dtype), k, design=design, **options)
        return RecoveryStatus(found.status[0]).name, found.indices[0, : found.steps[0]].tolist(), found

    w = sign_dictionary(uniform_mask(32, 40, 4, seed=0), seed=0)
    assert solve(w, np.zeros(32), 3)[:2] == ("RESIDUAL_SMALL", [])
    assert solve(w, -2 * w.to_dense()[:, 3], 5)[:2] == ("RESIDUAL_SMALL", [3])
    assert solve(w, -2 * w.to_dense()[:, 3], 1)[:2] == ("RESIDUAL_SMALL", [3])  # k reached, and nothing left
    reason, atoms, found = solve(w, np.ones(32), 2)
    assert (reason, len(atoms)) == ("SPARSITY_REACHED", 2)

    equal = Dictionary(Mask(3, np.array([[0, 1]] * 3)), np.array([[1, 1], [1, 1], [-1, -1]]) * np.sqrt(0.5))
    assert solve(equal, [1, 1, 1], 2, preselected=[1, 2])[:2] == ("DEPENDENT_ATOM", [1])
    epsilon = {np.float64: 1e-9, np.float32: 1e-4}[dtype]
    nearly = Dictionary(Mask(3, np.array([[0, 1]] * 2)), np.array([[1, 0], [np.cos(epsilon), np.sin(epsilon)]]))
    reason, atoms, _ = solve(nearly, [1, 1e-3, 0], 2)
    assert (reason, len(atoms)) == ("DEPENDENT_ATOM", 1)

    units = Dictionary(Mask(3, np.array([[0], [0], [1]])), np.ones((3, 1)))
    assert solve(units, [0, 0, 1], 1)[:2] == ("NO_CORRELATION", [])
    reason, atoms, found = solve(units, [1, 0, 1], 2)
    assert (reason, atoms, found.residual_norms.tolist()) == ("NO_CORRELATION", [0], [1.0])
    assert solve(units, [1, -1, 1], 2, selection="signed")[:2] == ("NO_CORRELATION", [0])
    assert solve(units, [-1, -1, 1], 2, selection="signed")[:2] == ("NO_CORRELATION", [])
    assert solve(units, [3, 2, 1], 2, planted=[[1, 2]])[:2] == ("FIRST_MISS", [])
    assert solve(units, [3, 2, 1], 2, planted=[[0, 1]])[:2] == ("FIRST_MISS", [0])


def test_every_status_is_explained():
    assert all(status.explanation for status in RecoveryStatus)


@every_design
@pytest.mark.parametrize("tolerance", [0.0, 0.3, 0.9])
def test_tolerance(masked, design, tolerance):
    """A signal stops after the first step that brings its residual below."""
    found = omp(of_kind(W, masked), H, 12, relative_tolerance=tolerance, design=design)
    path = omp(of_kind(W, masked), H, 12, path=True, design=design).path.residual_norms
    below = path <= tolerance * np.linalg.norm(H, axis=1, keepdims=True)
    expected = np.where(below.any(axis=1), below.argmax(axis=1) + 1, 12)
    np.testing.assert_array_equal(found.steps, expected)
    np.testing.assert_array_equal(found.status == RecoveryStatus.RESIDUAL_SMALL, below.any(axis=1))
    assert (tolerance < 0.9) or (expected < 12).any()


@every_design
@pytest.mark.parametrize("exponent", [-1060, -1000, -600, 600, 1000, 1020])
def test_powers_of_two_do_not_matter(masked, design, exponent):
    """Signals whose squares overflow or vanish: the same code times the same power of two."""
    w = of_kind(W, masked)
    h = np.round(H * 2.0**10) / 2.0**10  # exact as subnormal numbers too
    plain, scaled = (omp(w, signals, 4, design=design, path=True) for signals in (h, np.ldexp(h, exponent)))
    np.testing.assert_array_equal(plain.indices, scaled.indices)
    np.testing.assert_array_equal(plain.status, scaled.status)
    np.testing.assert_array_equal(np.ldexp(plain.coefficients, exponent), scaled.coefficients)
    np.testing.assert_array_equal(np.ldexp(plain.path.coefficients, exponent), scaled.path.coefficients)
    np.testing.assert_array_equal(np.ldexp(plain.residual_norms, exponent), scaled.residual_norms)


@every_design
@pytest.mark.parametrize(
    ("dtype", "scale"), [(np.float64, 1e-300), (np.float64, 1e300), (np.float32, 1e-40), (np.float32, 1e38)]
)
def test_any_scale(masked, design, dtype, scale):
    """Of signals beside others, too: each is scaled by itself. At 1e-40 float32 itself has only 5 digits."""
    w, x = of_kind(W, masked), codes(90, 3, 20) / 4
    scales = np.where(np.arange(20) % 2, scale, 1.0)[:, None]
    expected = omp(w, W.matvec(x), 3, design=design)
    found = omp(w, (W.matvec(x) * scales).astype(dtype), 3, design=design)
    np.testing.assert_array_equal(found.indices, expected.indices)
    error = 1e-11 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(found.coefficients / scales, expected.coefficients, atol=error)
    np.testing.assert_allclose(found.residual_norms / scales[:, 0], expected.residual_norms, atol=error)


@every_design
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_columns_of_any_norm(masked, design, dtype):
    """The atoms of the unit columns, and coefficients of the columns as given: THEORY.md, H.7."""
    norms = 10.0 ** np.random.default_rng(0).uniform(-3, 3, 90)
    scaled = Dictionary(W.mask, W.values * norms[:, None])
    h = H.astype(dtype)
    unit, given = (omp(of_kind(w, masked), h, 7, design=design, path=True) for w in (W, scaled))
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
        np.testing.assert_array_equal(omp(given, H, 3, design="plain").indices, omp(w, H, 3, design="plain").indices)


def test_an_irregular_sparse_matrix_keeps_its_nonzeros():
    """Columns are filled up with stored zeros; stored zeros and repeated entries of the matrix do not count."""
    rows, columns = [0, 1, 2, 3, 5, 3, 3, 4, 4], [0, 0, 1, 2, 2, 2, 2, 3, 3]
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 0.0, 2.0, 5.0]
    given = scipy.sparse.coo_array((values, (rows, columns)), shape=(6, 4))
    w = as_dictionary(given)
    assert isinstance(w, Dictionary)
    assert w.d == 2
    np.testing.assert_array_equal(w.to_dense(), given.toarray())
    full = as_dictionary(scipy.sparse.coo_array(np.ones((3, 4))))
    assert isinstance(full, DenseDictionary)
    np.testing.assert_array_equal(full.to_dense(), np.ones((3, 4)))


@pytest.mark.parametrize(
    ("masked", "design", "kept"), [(True, "push", "row_lists"), (True, "gram", "gram"), (False, "gram", "gram")]
)
def test_prepared_keeps_what_a_design_derives(masked, design, kept):
    prepared = Prepared(of_kind(W, masked), np.float64)
    before = prepared.nbytes
    found = omp(prepared, H, 5, design=design)
    derived = vars(prepared)[kept]
    assert prepared.nbytes > before
    assert_same(omp(prepared, H, 5, design=design), found)
    assert vars(prepared)[kept] is derived
    assert_same(omp(of_kind(W, masked), H, 5, design=design), found)
    shared = Prepared(of_kind(W, masked), np.float64)
    shared.derive(design)
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


@every_design
def test_no_signals(masked, design):
    found = omp(of_kind(W, masked), np.empty((0, 40)), 3, design=design, n_jobs=2)
    assert found.indices.shape == found.coefficients.shape == (0, 3)
    assert found.to_scipy().shape == (0, 90)
    path = omp(of_kind(W, masked), np.empty((0, 40)), 3, design=design, path=True).path
    assert path is None or path.coefficients.shape == (0, 3, 3)


def test_kernels_are_compiled_once_whatever_arrays_are_given():
    omp(W, H, 2, design="tile")
    compiled = len(omp_tile.omp_tile.signatures)
    ks, atoms = np.full(len(H), 2, np.int32), np.zeros((len(H), 1), np.int32)
    for array in (ks, atoms):
        array.flags.writeable = False
    omp(W, H, ks, preselected=atoms, planted=atoms, n_jobs=2, design="tile")
    omp(W, np.asfortranarray(H), 2, preselected=atoms[0], path=True, design="tile")
    omp(W, H * np.logspace(-320, 300, len(H))[:, None], 2, design="tile")
    assert len(omp_tile.omp_tile.signatures) == compiled


def test_a_single_vector_is_a_batch_of_one():
    assert_same(omp(W, H[0], 3), omp(W, H[:1], 3))
    assert omp(W, H[0].astype(np.float32), 3).coefficients.dtype == np.float32


@pytest.mark.parametrize("masked", [True, False])
def test_recovers_what_babel_certifies(masked):
    """OMP-3 on a mask with certified k: every code tried is recovered, whatever its dynamic range."""
    w = sign_dictionary(polynomial_mask(16, 8), seed=0)
    k = babel_certified_k(w)
    assert k >= 3
    x = codes(w.n, k, 200) * 10.0 ** np.random.default_rng(0).uniform(-3, 3, (200, w.n))
    found = omp(of_kind(w, masked), w.matvec(x), k)
    np.testing.assert_array_equal(found.to_dense() != 0, x != 0)


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
        (ONES, 2, {"selection": "nonnegative", "design": "tile"}, "design = 'tile': must be plain (or auto)"),
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
        (np.ones(40, int), 1, {}, "signals = array of int64: must be float32 or float64"),
        (np.array(["a"] * 40), 1, {}, "signals = array of <U1: must be float32 or float64"),
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
