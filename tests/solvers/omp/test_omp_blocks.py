"""OMP and the other solvers on blocks of dense and masked columns: what they find on the same dense matrix."""

import os
import subprocess
import sys

import numpy as np
import pytest
from support.cases import omp_oracle
from support.cases.omp_cases import DTYPES, assert_same

from expander_theory import (
    BlockDictionary,
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    Mask,
    OMPEncoder,
    basis_pursuit,
    block_gaussian_dictionary,
    cosamp,
    gomp,
    l0_decoding,
    matching_pursuit,
    niht,
    omp,
    planted_recovery,
    sparse_code,
    ssmp,
    topk,
    uniform_mask,
)
from expander_theory.solvers import Prepared, exact_recovery_coefficients, range_threshold
from expander_theory.solvers.omp._backends import BLOCK_DESIGNS, choose_backend, work_estimate

FAST = [name for name in BLOCK_DESIGNS if name != "plain"]
W = block_gaussian_dictionary(uniform_mask(40, 90, 5, seed=0), 6, seed=0)
H = np.random.default_rng(0).standard_normal((37, 40))


def drawn(rng):
    """Blocks, k, and signals of which about half have a code of at most k atoms, often with dense ones."""
    m, n = int(rng.integers(8, 60)), int(rng.integers(4, 120))
    r, d = int(rng.choice([1, 2, rng.integers(1, n)])), int(rng.integers(3, m + 1))
    w = block_gaussian_dictionary(uniform_mask(m, n, d, seed=n), r, seed=m)
    k = int(rng.integers(1, min(m, n, 12) + 1))
    h = rng.standard_normal((int(rng.choice([1, 7, 32, 33, 70])), m))
    x = np.zeros((len(h), n))
    for row in x:
        row[rng.choice(n, k, replace=False)] = rng.standard_normal(k)
        row[rng.integers(r)] = 2
    sparse = rng.integers(2, size=len(h)).astype(bool)
    h[sparse] = w.matvec(x)[sparse]
    return w, h, k


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_backend_is_the_definition(dtype):
    rng, signals, left_out = np.random.default_rng(1), 0, 0
    for _ in range(40):
        w, h, k = drawn(rng)
        h = h.astype(dtype)
        some = np.unique(np.r_[0, rng.integers(len(h), size=3), len(h) - 1])
        answers = omp_oracle.omp_batch(w.to_dense(), h[some], k, dtype=dtype)
        for backend in BLOCK_DESIGNS:
            found = omp(w, h, k, backend=backend, path=True)
            assert found.coefficients.dtype == dtype
            left_out += omp_oracle.check(found, answers, h, rows=some)
            signals += some.size
    assert left_out <= 0.03 * signals


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("selection", ["magnitude", "signed", "nonnegative"])
def test_blocks_are_the_dense_matrix(selection, dtype):
    w, h = W.astype(dtype), H.astype(dtype)
    expected = omp(w.densified(), h, 8, selection=selection, backend="plain")
    for backend in ("plain",) if selection == "nonnegative" else BLOCK_DESIGNS:
        found = omp(w, h, 8, selection=selection, backend=backend)
        assert np.array_equal(found.indices, expected.indices)
        assert (found.indices < W.r).any()
        assert np.array_equal(found.status, expected.status)
        np.testing.assert_allclose(
            found.coefficients, expected.coefficients, atol=1e-4 if dtype == np.float32 else 1e-12
        )


@pytest.mark.parametrize("backend", FAST)
def test_options_are_those_of_the_plain_backend(backend):
    """Sparsities, atoms to begin with (dense and masked ones), planted supports, columns of other norms, paths."""
    rng = np.random.default_rng(2)
    scaled = BlockDictionary(
        DenseDictionary(W.dense.columns * rng.uniform(0.5, 2, (6, 1))),
        Dictionary(W.masked.mask, W.masked.values * rng.uniform(0.5, 2, (84, 1))),
    )
    planted = np.stack([rng.choice(90, 4, replace=False) for _ in H])
    for how in (
        {"k": rng.integers(1, 9, len(H))},
        {"k": 6, "preselected": [3, 50, 0]},
        {"k": 4, "planted": planted},
        {"k": 40},
        {"k": 6, "relative_tolerance": 0.5},
    ):
        found, expected = (omp(scaled, H, backend=name, path=True, **how) for name in (backend, "plain"))
        assert np.array_equal(found.indices, expected.indices), how
        assert np.array_equal(found.status, expected.status), how
        np.testing.assert_allclose(found.coefficients, expected.coefficients, atol=1e-9)
        np.testing.assert_allclose(found.path.residual_norms, expected.path.residual_norms, atol=1e-9)


@pytest.mark.parametrize("backend", BLOCK_DESIGNS)
def test_equal_columns_go_to_the_lowest_index(backend):
    """Dense columns that equal masked ones: +-1/2 on blocks of four rows, so that nothing is rounded."""
    hadamard = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    rows = np.repeat(4 * np.arange(5), 4)[:, None] + np.arange(4)
    masked = Dictionary(Mask(20, rows), np.tile(hadamard, (5, 1)))
    w = BlockDictionary(DenseDictionary(masked.to_dense().T[[7, 7, 2, 19]]), masked)
    h = np.random.default_rng(0).integers(-3, 4, (40, 20)).astype(float)
    answers = omp_oracle.omp_batch(w.to_dense(), h, 9, exact=True)
    assert omp_oracle.check(omp(w, h, 9, backend=backend), answers, h) == 0
    assert not np.isin(omp(w, h, 9, backend=backend).indices, [1, 4 + 7, 4 + 2, 4 + 19]).any()


@pytest.mark.parametrize("backend", BLOCK_DESIGNS)
def test_a_result_depends_on_neither_the_batch_nor_the_threads(backend):
    h = np.random.default_rng(3).standard_normal((150, 40))
    prepared = Prepared(W, np.float64)
    together = omp(prepared, h, 7, backend=backend)
    assert_same(omp(prepared, h, 7, backend=backend, n_jobs=3), together)
    if backend != "gram":
        assert_same(omp(W, h[40:45], 7, backend=backend), together, slice(40, 45))


def test_which_backend_is_taken():
    assert choose_backend(W, 1000, 8, np.float32) in BLOCK_DESIGNS
    work = work_estimate(576, 2304, 6, k=32, batch=1024, dtype=np.float32, r=8)
    assert "push" not in work
    assert work["tile"] > work_estimate(576, 2304, 6, k=32, batch=1024, dtype=np.float32)["tile"]
    for backend in ("push", "product"):
        with pytest.raises(InvalidArgument, match=r"backend = .*must be one of auto, tile, gram, plain"):
            omp(W, H, 3, backend=backend)


def test_the_estimator_takes_blocks():
    encoder = OMPEncoder(W, 5).fit(H)
    codes = encoder.transform(H)
    np.testing.assert_allclose(codes.toarray(), omp(W, H, 5).to_dense(), atol=1e-12)
    np.testing.assert_allclose(encoder.inverse_transform(codes), W.matvec(codes.toarray()), atol=1e-12)


@pytest.mark.parametrize("solver", [topk, matching_pursuit, gomp, cosamp, niht, basis_pursuit])
def test_other_solvers_find_what_they_find_on_the_dense_matrix(solver):
    h = W.matvec(np.stack([sparse_code(90, 3, seed=s) for s in range(5)]))
    found, expected = (solver(w, h, 3) for w in (W, W.densified()))
    np.testing.assert_allclose(found.to_dense(), expected.to_dense(), atol=1e-8)


def test_guarantees_that_need_only_the_columns():
    supports = np.array([[0, 50], [7, 8]])
    expected = exact_recovery_coefficients(W.densified(), supports)
    np.testing.assert_allclose(exact_recovery_coefficients(W, supports), expected)
    (rate,) = planted_recovery(W, [2], trials=50, seed=0)
    assert rate.successes > 25


@pytest.mark.parametrize("solver", [ssmp, l0_decoding, lambda w, h, k: range_threshold(w, k)])
def test_what_needs_a_mask_refuses_blocks(solver):
    with pytest.raises(InvalidArgument, match="dictionary = of blocks: must be "):
        solver(W, H, 2)


def test_without_the_jit_it_is_the_same():
    code = (
        "import numpy as np; from expander_theory import *; "
        "w = block_gaussian_dictionary(uniform_mask(8, 12, 3, seed=0), 3, seed=0); "
        "h = np.random.default_rng(0).standard_normal((5, 8)); "
        "print([omp(w, h, 3, backend=b).indices.tolist() for b in ('tile', 'gram', 'plain')])"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    w = block_gaussian_dictionary(uniform_mask(8, 12, 3, seed=0), 3, seed=0)
    expected = omp(w, np.random.default_rng(0).standard_normal((5, 8)), 3).indices.tolist()
    assert found.stdout.strip() == str([expected] * 3)
