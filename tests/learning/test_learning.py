"""What is learned: errors against what has learned nothing, supports, dtypes, and the same from the same seed."""

import numpy as np
import pytest
import scipy.sparse

from expander_theory import (
    BlockDictionary,
    Dictionary,
    ExpanderDictionaryLearning,
    gaussian_dictionary,
    omp,
    sparse_code,
    uniform_mask,
)

M, N, D, K = 24, 40, 4, 3
TRUE = gaussian_dictionary(uniform_mask(M, N, D, seed=3), seed=3).normalised()


def planted(count, seed):
    codes = np.stack([sparse_code(N, K, seed=seed + t) for t in range(count)])
    return TRUE.matvec(codes) + 0.01 * np.random.default_rng(seed).standard_normal((count, M))


TRAIN, HELD = planted(3000, 0), planted(400, 10_000)


def learner(**parameters):
    given = {"n_components": N, "degree": D, "n_nonzero_coefs": K, "random_state": 0, **parameters}
    return ExpanderDictionaryLearning(**given)


def fvu(model):
    return -model.score(HELD) / HELD.var(axis=0).mean()


def test_planted_columns_are_found():
    learned = learner(max_iter=60).fit(TRAIN)
    random = gaussian_dictionary(uniform_mask(M, N, D, seed=0), seed=0)
    nothing = np.square(omp(random, HELD, K).residual_norms).mean() / HELD.var(axis=0).sum()
    coordinates = np.sort(HELD**2, axis=1)[:, : M - K].sum() / HELD.var(axis=0).sum() / len(HELD)
    fixed = fvu(learner(supports="uniform").fit(TRAIN))
    assert fvu(learned) < 0.5 * min(nothing, coordinates)
    assert fvu(learned) < 0.5 * fixed
    assert fixed < nothing
    assert fvu(learner(supports=TRUE.mask).fit(TRAIN)) < fixed
    meetings = np.abs(learned.components_ @ TRUE.to_dense()).max(axis=0)
    assert (meetings > 0.95).mean() > 0.6
    assert learned.error_[-1] < 0.5 * learned.error_[0]
    assert len(learned.error_) == learned.n_iter_
    assert learned.n_steps_ == 12 * learned.n_iter_


@pytest.mark.parametrize("supports", ["learned", "uniform", uniform_mask(M, N, D, seed=1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masks_are_respected(supports, dtype):
    model = learner(supports=supports, max_iter=4).fit(TRAIN.astype(dtype))
    w = model.dictionary_
    assert isinstance(w, Dictionary)
    assert (w.m, w.n, w.d, w.dtype) == (M, N, D, dtype)
    np.testing.assert_allclose(w.column_norms, 1, atol=1e-6)
    assert model.components_.shape == (N, M)
    assert ((model.components_ != 0).sum(axis=1) <= D).all()
    assert model.transform(HELD.astype(dtype)).dtype == model.components_.dtype == dtype
    if not isinstance(supports, str):
        assert w.mask == supports
    if supports == "learned":
        first = learner(max_iter=1).fit(TRAIN[:256]).dictionary_
        assert (first.mask.rows != w.mask.rows).any()


def test_dense_columns():
    model = learner(n_dense=3, max_iter=10).fit(TRAIN)
    w = model.dictionary_
    assert isinstance(w, BlockDictionary)
    assert (w.r, w.n, w.masked.d) == (3, N, D)
    np.testing.assert_allclose(w.column_norms, 1, atol=1e-12)
    assert ((model.components_ != 0).sum(axis=1) == [M] * 3 + [D] * (N - 3)).all()
    mask = uniform_mask(M, 9, 2, seed=0)
    with_mask = ExpanderDictionaryLearning(n_dense=3, supports=mask, max_iter=2, random_state=0).fit(TRAIN)
    assert with_mask.dictionary_.masked.mask == mask
    assert with_mask.components_.shape == (12, M)
    codes = model.transform(HELD)
    np.testing.assert_allclose(model.inverse_transform(codes), codes @ model.components_, atol=1e-12)


def test_codes():
    model = learner(max_iter=3).fit(TRAIN)
    codes = model.transform(HELD)
    assert isinstance(codes, np.ndarray)
    np.testing.assert_allclose(codes, omp(model.dictionary_, HELD, K).to_dense(), atol=1e-9)
    assert (codes != 0).sum(axis=1).max() == K
    residual = HELD - model.inverse_transform(codes)
    assert model.score(HELD) == pytest.approx(-np.square(residual).mean())
    sparse = model.set_params(codes_format="csr").transform(HELD)
    assert isinstance(sparse, scipy.sparse.csr_array)
    np.testing.assert_array_equal(sparse.toarray(), codes)
    np.testing.assert_allclose(model.inverse_transform(sparse), model.inverse_transform(codes), atol=1e-14)


@pytest.mark.parametrize("n_dense", [0, 2])
def test_results_depend_on_nothing_but_the_seed(n_dense):
    model = learner(n_dense=n_dense, max_iter=4).fit(TRAIN)
    other = learner(n_dense=n_dense, max_iter=4, n_jobs=2).fit(TRAIN)
    np.testing.assert_array_equal(model.components_, other.components_)
    codes = model.transform(HELD)
    np.testing.assert_array_equal(other.transform(HELD), codes)
    pieces = [model.transform(HELD[first : first + size]) for first, size in ((0, 1), (1, 2), (3, 397))]
    np.testing.assert_array_equal(np.concatenate(pieces), codes)
    assert (learner(n_dense=n_dense, max_iter=4, random_state=1).fit(TRAIN).components_ != model.components_).any()


def test_partial_fit_learns_from_the_batches_of_fit():
    first = TRAIN[:N]
    whole = learner(max_iter=1, shuffle=False, dict_init=first).fit(TRAIN[:1000])
    parts = learner(dict_init=first)
    for begin in range(0, 1000, 256):
        parts.partial_fit(TRAIN[begin : min(begin + 256, 1000)])
    np.testing.assert_array_equal(parts.components_, whole.components_)
    assert parts.n_steps_ == whole.n_steps_ == 4
    longer = learner().partial_fit(TRAIN[:20])  # fewer samples than columns
    for _ in range(12):
        longer.partial_fit(TRAIN)
    assert fvu(longer) < fvu(parts)


def test_columns_to_begin_with():
    """Each is cut to its largest entries, or to its mask; without a step nothing else happens to it."""
    given = np.random.default_rng(0).standard_normal((N, M))
    given[0] = 0  # a zero column is replaced by a random one
    nothing = np.zeros((1, M))
    found = learner(dict_init=given).partial_fit(nothing).dictionary_
    largest = np.sort(np.argsort(-np.abs(given), axis=1)[:, :D], axis=1)
    assert found.mask.rows[1:].tolist() == largest[1:].tolist()
    values = np.take_along_axis(given, largest, axis=1)
    np.testing.assert_allclose(found.values[1:], values[1:] / np.linalg.norm(values[1:], axis=1, keepdims=True))
    mask = uniform_mask(M, N, D, seed=0)
    on_mask = learner(dict_init=given, supports=mask).partial_fit(nothing).dictionary_
    values = np.take_along_axis(given, mask.rows.astype(int), axis=1)
    np.testing.assert_allclose(on_mask.values[1:], values[1:] / np.linalg.norm(values[1:], axis=1, keepdims=True))


def test_dead_atoms_are_replaced():
    """Columns on a row that no sample has are never used, until they become samples."""
    x = TRAIN.copy()
    x[:, 0] = 0
    first = TRAIN[:N].copy()
    first[: N // 2] = np.eye(M)[0]
    model = learner(dict_init=first, max_iter=6).fit(x)
    used = (model.transform(x) != 0).any(axis=0)
    assert used.mean() > 0.9


def test_it_stops_early():
    model = learner(tol=0.5, n_iter_no_change=1).fit(TRAIN)
    assert model.n_iter_ < 12
    assert learner(tol=None, max_iter=15).fit(TRAIN[:300]).n_iter_ == 15


def test_what_degenerate_data_give():
    for x in (np.zeros((5, 4)), np.ones((1, 4)), np.eye(4)[:2] * 1e-200, np.full((3, 4), 1e150)):
        model = ExpanderDictionaryLearning(6, degree=2, max_iter=3, random_state=0).fit(x)
        assert np.isfinite(model.components_).all()
        assert np.isfinite(model.transform(x)).all()


def test_progress_is_printed(capsys):
    learner(max_iter=2, verbose=1).fit(TRAIN[:300])
    assert "[ExpanderDictionaryLearning] pass 2 of 2: mean squared error" in capsys.readouterr().out
