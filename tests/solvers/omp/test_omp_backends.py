"""All backends of OMP against the definition: same atoms, codes, residuals and statuses; which backend is taken."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import orthogonal_mp
from support.cases import omp_oracle
from support.cases.omp_cases import DTYPES, as_dense, assert_same, backends_of, codes, of_kind

from expander_theory import (
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    Mask,
    dense_gaussian_dictionary,
    gaussian_dictionary,
    omp,
    sign_dictionary,
    sparse_code,
    uniform_mask,
)
from expander_theory.dictionaries import as_dictionary
from expander_theory.solvers.omp._backends import DENSE_DESIGNS, MASKED_DESIGNS, choose_backend, work_estimate

BATCHES = [1, 7, 31, 32, 33, 100]
KINDS = ["signs", "gaussian", "irregular", "dense"]


def irregular(m, n, d, rng):
    """Columns of 2 to 2d - 1 normal entries, in one of scipy's formats."""
    columns = [rng.choice(m, rng.integers(2, min(m, 2 * d)), replace=False) for _ in range(n)]
    rows, places = np.concatenate(columns), np.repeat(np.arange(n), [c.size for c in columns])
    matrix = scipy.sparse.coo_array((rng.standard_normal(rows.size), (rows, places)), shape=(m, n))
    return matrix.asformat(str(rng.choice(["coo", "csr", "csc"])))


def drawn(kind, rng):
    """What omp takes, the same as a dictionary, k, and signals of which about half have a code of at most k atoms."""
    m = int(rng.integers(8, 60))
    n, d = int(rng.integers(2, 150)), int(rng.choice([3, 4, 7, m, rng.integers(3, m + 1)]))
    limit, seed = min(m, n), int(rng.integers(2**31))
    k = int(rng.choice([1, min(limit, 5), rng.integers(1, limit + 1)], p=[0.2, 0.5, 0.3]))
    if kind == "irregular":
        given = irregular(m, n, min(d, 10), rng)
    elif kind == "dense":
        given = dense_gaussian_dictionary(m, n, seed=seed)
    else:
        family = sign_dictionary if kind == "signs" else gaussian_dictionary
        given = family(uniform_mask(m, n, d, seed=seed), seed=seed)
    w = as_dictionary(given)
    h = rng.standard_normal((int(rng.choice(BATCHES)), m))
    sparse = rng.integers(2, size=len(h)).astype(bool)
    h[sparse] = w.matvec(np.stack([sparse_code(n, rng.integers(1, k + 1), seed=b) for b in range(len(h))]))[sparse]
    return given, w, h, k


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_backend_is_the_definition(kind, dtype):
    """40 problems each; the first, the last and some other signals of a batch are solved from the definition."""
    rng = np.random.default_rng(KINDS.index(kind))
    signals, left_out = 0, 0
    for _ in range(40):
        given, w, h, k = drawn(kind, rng)
        h = h.astype(dtype)
        some = np.unique(np.r_[0, rng.integers(len(h), size=3), len(h) - 1])
        answers = omp_oracle.omp_batch(w.to_dense(), h[some], k, dtype=dtype)
        for backend in backends_of(w):
            found = omp(given, h, k, backend=backend, path=True)
            assert found.coefficients.dtype == dtype
            left_out += omp_oracle.check(found, answers, h, rows=some)
            signals += some.size
    assert left_out <= (0.1 if kind == "signs" else 0.03) * signals  # signs tie exactly more often


@pytest.mark.parametrize("m", [1, 12])
def test_one_nonzero_a_column(m):
    """d = 1: nothing is ever rounded, equal columns tie, and nothing is left of the rows that are met."""
    w = gaussian_dictionary(uniform_mask(m, 30, 1, seed=m), seed=0)
    h = np.random.default_rng(0).integers(-8, 9, (33, m)).astype(float)
    answers = omp_oracle.omp_batch(w.to_dense(), h, m, exact=True)
    for dictionary in (w, as_dense(w)):
        for backend in backends_of(dictionary):
            assert omp_oracle.check(omp(dictionary, h, m, backend=backend), answers, h) == 0


def orthonormal_blocks(seed):
    """Columns +-1/2 on blocks of four rows, orthonormal in a block, each there several times, some with signs flipped.

    Codes of integer vectors, and whatever OMP computes on the way, are multiples of 1/2: nothing is rounded.
    """
    rng = np.random.default_rng(seed)
    hadamard = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    block, column = rng.integers(5, size=70), rng.integers(4, size=70)
    signs = rng.choice([-1.0, 1.0], (70, 1))
    return Dictionary(Mask(20, 4 * block[:, None] + np.arange(4)), signs * hadamard[column])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("selection", ["magnitude", "signed"])
def test_exact_ties_go_to_the_lowest_index(dtype, selection):
    """Nearly all scores are tied, at every step, with equal and opposite columns and with others."""
    for seed in range(5):
        w, rng = orthonormal_blocks(seed), np.random.default_rng(seed)
        h = np.concatenate([rng.integers(-2, 3, (40, 20)), codes_of_signs(70, 20, rng) @ w.to_dense().T]).astype(dtype)
        answers = omp_oracle.omp_batch(w.to_dense(), h, 9, dtype=dtype, selection=selection, exact=True)
        for dictionary in (w, as_dense(w)):
            for backend in backends_of(dictionary):
                found = omp(dictionary, h, 9, selection=selection, backend=backend)
                assert omp_oracle.check(found, answers, h) == 0


def codes_of_signs(n, count, rng):
    x = np.zeros((count, n))
    for row in x:
        row[rng.choice(n, 5, replace=False)] = rng.choice([-1, 1], 5)
    return x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("selection", ["magnitude", "signed"])
def test_exact_ties_of_the_first_atom(dtype, selection):
    """d = 4, signs and codes of -1, 0, 1: all correlations are exact, for overlapping columns too."""
    w, rng = sign_dictionary(uniform_mask(10, 90, 4, seed=0), seed=0), np.random.default_rng(0)
    h = (codes_of_signs(90, 64, rng) @ w.to_dense().T).astype(dtype)
    scores = h @ w.to_dense()
    best = np.argmax(scores if selection == "signed" else np.abs(scores), axis=1)
    tied = (np.abs(scores) == np.abs(scores).max(axis=1, keepdims=True)).sum(axis=1)
    assert (tied > 1).sum() > 20
    for dictionary in (w, as_dense(w)):
        for backend in backends_of(dictionary):
            found = omp(dictionary, h, 1, selection=selection, backend=backend)
            zero = ~h.any(axis=1)
            np.testing.assert_array_equal(found.indices[:, 0], np.where(zero, -1, best))


@pytest.mark.parametrize("selection", ["magnitude", "signed"])
def test_ties_with_a_column_that_rises(selection):
    """Without the first atom columns 1 and 2 score 3/4; with it column 1 was far behind, so it is listed after 2."""
    columns = np.array([[4, 0, 0, 0, 0, 0], [-2, 3, 1, 1, 1, 0], [0, 3, 2, 1, 1, 1]]) / 4
    masked = Dictionary(Mask(6, np.tile(np.arange(6), (3, 1))), columns)
    for w in (masked, DenseDictionary(columns)):
        for backend in backends_of(w):
            found = omp(w, np.array([1.0, 1, 0, 0, 0, 0]), 2, selection=selection, backend=backend)
            assert found.indices.tolist() == [[0, 1]]


def test_ties_beyond_half_precision():
    """Columns (g, s, ...) of norm exactly 1 and one s: without the first atom all tie, and their overlaps g with it,
    which half precision rounds, decide nothing."""
    one, s, rng = 2**13, 2**12 + 1, np.random.default_rng(0)
    columns, y = [[one, 0, 0, 0, 0]], np.arange(one)
    for g, x in rng.integers(-3500, 3500, (200, 2)).tolist():
        square = one**2 - g**2 - s**2 - x**2 - y**2
        z = np.sqrt(np.maximum(square, 0)).astype(np.int64)
        places = np.nonzero((z**2 == square) & (square > 0))[0][:1]
        columns += [[g, s, x, int(place), int(z[place])] for place in places]
    assert len(columns) > 30
    values = np.array(columns) / one
    assert ((values**2).sum(axis=1) == 1).all()
    masked = Dictionary(Mask(5, np.tile(np.arange(5), (len(values), 1))), values)
    for w in (masked, DenseDictionary(values)):
        for backend in backends_of(w):
            assert omp(w, np.array([8.0, 1, 0, 0, 0]), 2, backend=backend).indices.tolist() == [[0, 1]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["plain", "tile", "push"])
def test_of_equal_and_opposite_columns_the_first_is_chosen(backend, dtype):
    """Generic values: scores of copies are rounded in the same way."""
    half = gaussian_dictionary(uniform_mask(30, 50, 5, seed=0), seed=0)
    w = Dictionary(Mask(30, np.tile(half.mask.rows, (3, 1))), np.concatenate([half.values, half.values, -half.values]))
    h = np.random.default_rng(0).standard_normal((40, 30)).astype(dtype)
    assert (omp(w, h, 8, backend=backend).indices < 50).all()
    signed = omp(w, h, 8, backend=backend, selection="signed")
    assert ((signed.indices < 50) | (signed.indices >= 100)).all()
    assert (signed.coefficients[:, 0] > 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [True, False])
def test_a_batch_gives_what_its_signals_give_alone(masked, dtype):
    """Bit for bit, but for matrix products, which round in another way for another number of signals."""
    w = gaussian_dictionary(uniform_mask(40, 77, 5, seed=0), seed=0)
    w = of_kind(w, masked)
    h = np.random.default_rng(0).standard_normal((100, 40)).astype(dtype)
    h[5] = 0
    error = 1e-12 if dtype == np.float64 else 1e-4
    for backend in backends_of(w):
        together = omp(w, h, 7, backend=backend)
        for rows in ([0], [5], [99], list(range(33)), list(range(99, 30, -1))):
            apart = omp(w, h[rows], 7, backend=backend)
            if backend in ("gram", "product"):
                np.testing.assert_array_equal(apart.indices, together.indices[rows])
                np.testing.assert_allclose(apart.coefficients, together.coefficients[rows], atol=error)
            else:
                assert_same(apart, together, rows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("batch", [1, 40, 130])
def test_the_result_does_not_depend_on_the_number_of_threads(masked, dtype, batch):
    w = gaussian_dictionary(uniform_mask(33, 77, 5, seed=0), seed=0)
    w = of_kind(w, masked)
    h = np.random.default_rng(0).standard_normal((batch, 33)).astype(dtype)
    options = {"path": True, "preselected": [3], "planted": np.arange(70)}
    ks = np.random.default_rng(1).integers(1, 8, batch)
    for backend in (*backends_of(w), "auto"):
        one = omp(w, h, ks, backend=backend, **options)
        for n_jobs in (2, 3, -1):
            many = omp(w, h, ks, backend=backend, n_jobs=n_jobs, **options)
            assert_same(many, one)
            np.testing.assert_array_equal(many.path.coefficients, one.path.coefficients)
            np.testing.assert_array_equal(many.path.residual_norms, one.path.residual_norms)


@pytest.mark.parametrize(
    ("m", "n", "d", "k"), [(64, 256, 7, 5), (96, 300, 5, 8), (128, 512, 8, 14), (200, 400, 12, 25)]
)
@pytest.mark.parametrize("family", [sign_dictionary, gaussian_dictionary])
def test_agrees_with_scikit_learn(m, n, d, k, family):
    """4 sizes x 2 families x 100 noiseless signals, each by every backend: supports equal, coefficients to 1e-8.

    Left out are signals in which the definition finds a near-tie, which rounding decides.
    """
    w = family(uniform_mask(m, n, d, seed=d), seed=k)
    h = w.matvec(codes(n, k, 100))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns where it stops early
        theirs = orthogonal_mp(w.to_dense(), h.T, n_nonzero_coefs=k).T
    for dictionary in (w, as_dense(w)):
        for backend in backends_of(dictionary):
            ours = omp(dictionary, h, k, backend=backend).to_dense()
            unequal = np.nonzero(((ours != 0) != (theirs != 0)).any(axis=1))[0]
            assert unequal.size <= 1
            assert all(answer.sure is not None for answer in omp_oracle.omp_batch(w.to_dense(), h[unequal], k))
            same = np.setdiff1d(np.arange(100), unequal)
            np.testing.assert_allclose(ours[same], theirs[same], atol=1e-8)


@pytest.mark.parametrize("backend", ["tile", "push", "gram", "product"])
def test_many_steps_of_many_columns(backend):
    """Sizes at which candidates are listed anew, screened and proved: all atoms of the plain backend."""
    w = gaussian_dictionary(uniform_mask(300, 1500, 9, seed=0), seed=0)
    x = codes(1500, 60, 12) * 10.0 ** np.random.default_rng(0).uniform(-2, 2, (12, 1500))
    h = np.concatenate([w.matvec(x), np.random.default_rng(1).standard_normal((12, 300))])
    dictionary = as_dense(w) if backend == "product" else w
    for selection in ("magnitude", "signed"):
        plain = omp(w, h, 90, backend="plain", selection=selection)
        found = omp(dictionary, h, 90, backend=backend, selection=selection)
        np.testing.assert_array_equal(found.indices, plain.indices)
        np.testing.assert_array_equal(found.status, plain.status)
        np.testing.assert_allclose(found.coefficients, plain.coefficients, atol=1e-8)


@pytest.mark.parametrize("coherence", [1e-3, 1e-5, 1e-9])
def test_nearly_orthogonal_columns(coherence):
    """Overlaps that half precision rounds to nothing, and scores that differ by as little."""
    rng = np.random.default_rng(0)
    columns = np.linalg.qr(rng.standard_normal((64, 64)))[0] + coherence * rng.standard_normal((64, 64))
    w = DenseDictionary(columns / np.linalg.norm(columns, axis=1, keepdims=True))
    x = np.zeros((8, 64))
    for row in x:
        row[rng.choice(64, 20, replace=False)] = 1 + 1e-6 * rng.standard_normal(20)
    h = w.matvec(x)
    answers = omp_oracle.omp_batch(w.to_dense(), h, 20)
    for backend in DENSE_DESIGNS:
        assert omp_oracle.check(omp(w, h, 20, backend=backend), answers, h) == 0


def test_small_problems():
    """Few enough to run without compilation too."""
    rng = np.random.default_rng(0)
    w = gaussian_dictionary(uniform_mask(12, 20, 3, seed=0), seed=0)
    signs = sign_dictionary(uniform_mask(12, 20, 3, seed=1), seed=0)
    for dtype in DTYPES:
        h = rng.standard_normal((5, 12)).astype(dtype)
        for dictionary in (w, signs, as_dense(w)):
            for selection in ("magnitude", "signed"):
                answers = omp_oracle.omp_batch(dictionary.to_dense(), h, 4, dtype=dtype, selection=selection)
                for backend in backends_of(dictionary):
                    found = omp(dictionary, h, 4, selection=selection, backend=backend, path=True)
                    assert omp_oracle.check(found, answers, h) == 0
    answers = omp_oracle.omp_batch(w.to_dense(), h, 4, dtype=np.float32, selection="nonnegative")
    assert omp_oracle.check(omp(w, h, 4, selection="nonnegative"), answers, h) == 0


def test_without_compilation():
    """The kernels are plain Python where numba is switched off, and the vector loops NumPy."""
    files = [__file__, str(Path(__file__).with_name("test_omp_kernels.py"))]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", "small or omp_kernels"]
    done = subprocess.run(command, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.parametrize(("m", "n", "d"), [(1, 1, 1), (5, 3, 5), (33, 77, 1), (1000, 70_001, 13), (64, 10**7, 64)])
@pytest.mark.parametrize("batch", [1, 31, 10**6])
def test_work_is_positive(m, n, d, batch):
    for masked in (True, False):
        for k in {1, min(m, n)}:
            work = work_estimate(m, n, d if masked else m, k=k, batch=batch, dtype=np.float32, masked=masked)
            assert set(work) <= set(MASKED_DESIGNS if masked else DENSE_DESIGNS)
            assert all(0 < value < np.inf for value in work.values())
            assert ("gram" in work) == (n < 10_000)  # the Gram matrix of more columns is too large to hold


def test_the_cheapest_backend_is_taken():
    """Small d and large n: only what a step touches is recomputed. Large d k and many signals: the Gram matrix."""
    small = uniform_mask(64, 256, 4, seed=0)
    large = uniform_mask(8192, 65_536, 4, seed=0)
    assert choose_backend(sign_dictionary(small, seed=0), 100, 4, np.float32) == "tile"
    assert choose_backend(sign_dictionary(large, seed=0), 100, 32, np.float32) == "push"
    wide = sign_dictionary(uniform_mask(576, 262_144, 8, seed=0), seed=0)  # its scores leave the cache
    assert choose_backend(wide, 100, 32, np.float32) == "tile"
    assert choose_backend(wide, 100, 32, np.float32, spilling=False) == "push"
    assert (
        choose_backend(gaussian_dictionary(uniform_mask(256, 512, 128, seed=0), seed=0), 10**6, 32, np.float64)
        == "gram"
    )
    dense = dense_gaussian_dictionary(256, 1024, seed=0)
    assert choose_backend(dense, 10**5, 16, np.float32) == "gram"
    assert choose_backend(dense, 1, 4, np.float32) == "product"
    assert choose_backend(dense, 0, 4, np.float32) == "product"


def test_a_backend_for_another_kind_of_dictionary_is_refused():
    w, h = gaussian_dictionary(uniform_mask(8, 12, 3, seed=0), seed=0), np.ones(8)
    for dictionary, backend in [(as_dense(w), "tile"), (as_dense(w), "push"), (w, "product"), (w, "fast")]:
        with pytest.raises(InvalidArgument, match=f"backend = '{backend}': must be one of auto, ") as caught:
            omp(dictionary, h, 1, backend=backend)
        assert backend not in caught.value.allowed
