"""OMPEncoder as scikit-learn uses its transformers, and without scikit-learn."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from expander_theory import (
    DenseDictionary,
    ExpanderTheoryError,
    InvalidArgument,
    OMPEncoder,
    RecoveryStatus,
    gaussian_dictionary,
    omp,
    sparse_code,
    uniform_mask,
)
from expander_theory.solvers.omp.estimator import NotFitted
from expander_theory.solvers.omp.prepared import Prepared

W = gaussian_dictionary(uniform_mask(40, 90, 5, seed=0), seed=0)
DENSE = DenseDictionary(W.to_dense().T)
X = np.stack([sparse_code(90, 3, seed=t) for t in range(50)])
H = W.matvec(X) + 0.01 * np.random.default_rng(0).standard_normal((50, 40))
PARAMETERS = ["dictionary", "k", "relative_tolerance", "selection", "backend", "n_jobs", "codes_format"]


@pytest.mark.parametrize("dictionary", [W, DENSE, W.to_scipy(), W.to_dense(), Prepared(W, np.float64)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_codes_are_those_of_omp(dictionary, dtype):
    encoder = OMPEncoder(dictionary, 4, backend="gram").fit()
    h = H.astype(dtype)
    expected = omp(
        W.to_dense() if dictionary is DENSE or isinstance(dictionary, np.ndarray) else W, h, 4, backend="gram"
    )
    found = encoder.transform(h)
    assert isinstance(found, scipy.sparse.csr_array)
    assert found.dtype == dtype
    assert (found != expected.to_scipy()).nnz == 0
    recovery = encoder.recover(h)
    np.testing.assert_array_equal(recovery.indices, expected.indices)
    np.testing.assert_array_equal(recovery.residual_norms, expected.residual_norms)
    assert encoder.n_features_in_ == 40


def test_options_are_those_of_omp():
    for options in ({"relative_tolerance": 0.4}, {"selection": "signed"}, {"selection": "nonnegative"}, {"n_jobs": 2}):
        found = OMPEncoder(W, 4, **options).fit().recover(H)
        expected = omp(W, H, 4, **options)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.coefficients, expected.coefficients)


def test_formats():
    expected = omp(W, H, 4).to_dense()
    formats = {"csr": scipy.sparse.csr_array, "csc": scipy.sparse.csc_array, "dense": np.ndarray}
    for name, kind in formats.items():
        codes = OMPEncoder(W, 4, codes_format=name).fit_transform(H)
        assert isinstance(codes, kind)
        np.testing.assert_array_equal(codes if name == "dense" else codes.toarray(), expected)
    assert OMPEncoder(W, 4).fit().transform(H[0]).shape == (1, 90)
    assert OMPEncoder(W, 4).fit(H).transform(H[:0]).shape == (0, 90)
    sparse = OMPEncoder(W, 4).fit(scipy.sparse.coo_array(H)).transform(scipy.sparse.coo_array(H))
    np.testing.assert_array_equal(sparse.toarray(), expected)


@pytest.mark.parametrize("dictionary", [W, DENSE, W.to_scipy()])
def test_inverse_transform(dictionary):
    encoder = OMPEncoder(dictionary, 3).fit()
    for codes in (X, scipy.sparse.csr_array(X), scipy.sparse.coo_array(X)):
        signals = encoder.inverse_transform(codes)
        assert isinstance(signals, np.ndarray)
        np.testing.assert_allclose(signals, X @ W.to_dense().T, atol=1e-14)
    single = encoder.inverse_transform(X[0].astype(np.float32))
    assert (single.shape, single.dtype) == ((1, 40), np.float32)
    whole = np.eye(90, dtype=int)[:5]
    np.testing.assert_allclose(encoder.inverse_transform(whole), W.to_dense().T[:5], atol=1e-15)
    clean = W.matvec(X[:10] + np.sign(X[:10]))
    np.testing.assert_allclose(encoder.inverse_transform(encoder.transform(clean)), clean, atol=1e-12)
    with pytest.raises(InvalidArgument, match=r"X = codes of shape \(50, 40\): must have shape \(batch, 90\)"):
        encoder.inverse_transform(H)


def test_what_was_derived_is_kept_for_each_dtype():
    encoder = OMPEncoder(W, 4, backend="gram").fit(H)
    assert list(encoder._prepared) == [np.float64]
    encoder.transform(H)
    double = encoder._prepared[np.dtype(np.float64)]
    gram = double.gram
    encoder.transform(H.astype(np.float32))
    encoder.transform(H)
    assert encoder._prepared[np.dtype(np.float64)] is double
    assert double.gram is gram
    assert set(encoder._prepared) == {np.dtype(np.float64), np.dtype(np.float32)}
    assert list(OMPEncoder(W, 4).fit(H.astype(np.float32))._prepared) == [np.float32]
    given = Prepared(W, np.float32)
    assert OMPEncoder(given, 4).fit()._prepared == {np.dtype(np.float32): given}


def test_parameters():
    encoder = OMPEncoder(W, 4, backend="tile")
    assert list(encoder.get_params()) == PARAMETERS
    assert encoder.get_params(deep=False) == encoder.get_params()
    assert encoder.get_params()["dictionary"] is W
    assert encoder.set_params(k=2, codes_format="dense") is encoder
    assert (encoder.k, encoder.codes_format, encoder.backend) == (2, "dense", "tile")
    with pytest.raises(InvalidArgument, match=r"sparsity = 3: is no parameter: must be one of dictionary, k, "):
        encoder.set_params(k=1, sparsity=3)
    assert encoder.k == 2
    encoder.fit()
    assert (encoder.transform(H) != 0).sum(axis=1).max() == 2
    encoder.set_params(k=3)
    assert (encoder.transform(H) != 0).sum(axis=1).max() == 3
    encoder.set_params(dictionary=np.eye(20), backend="auto")
    assert encoder.transform(H).shape == (50, 90)  # still the fitted one
    assert encoder.fit().n_features_in_ == 20


@pytest.mark.parametrize("dictionary", [W, DENSE, W.to_scipy(), W.to_dense(), Prepared(W, np.float64)])
def test_clone_and_pickle(dictionary):
    encoder = OMPEncoder(dictionary, 4, relative_tolerance=0.01, backend="gram", codes_format="dense").fit(H)
    expected = encoder.transform(H)
    copy = clone(encoder)
    assert isinstance(copy, OMPEncoder)
    assert not hasattr(copy, "n_features_in_")
    assert copy.get_params()["relative_tolerance"] == 0.01
    stored = pickle.dumps(encoder)
    assert len(stored) < 64_000  # without the Gram matrix, which has 64,800 bytes
    restored = pickle.loads(stored)
    np.testing.assert_array_equal(copy.fit(H).transform(H), expected)
    np.testing.assert_array_equal(restored.transform(H), expected)


def test_in_pipelines():
    half = FunctionTransformer(lambda signals: signals / 2)
    last = make_pipeline(half, OMPEncoder(W, 4, codes_format="dense"))
    np.testing.assert_array_equal(last.fit_transform(H), omp(W, H / 2, 4).to_dense())
    np.testing.assert_array_equal(last.fit(H).transform(H), omp(W, H / 2, 4).to_dense())
    check_is_fitted(last)
    assert "OMPEncoder" in repr(last)
    first = Pipeline([("omp", OMPEncoder(W, 4)), ("scale", StandardScaler(with_mean=False))])
    assert first.fit_transform(H).shape == (50, 90)
    assert first.n_features_in_ == 40
    first.set_params(omp__k=2)
    assert first.get_params()["omp__k"] == 2
    assert (first.fit_transform(H) != 0).sum(axis=1).max() == 2
    back = make_pipeline(OMPEncoder(W, 4))
    assert back.fit(H).inverse_transform(back.transform(H)).shape == H.shape


def test_in_a_grid_search():
    """The fewest steps that leave nothing: three, as were planted."""

    def score(encoder, signals, y=None):
        norms = encoder.recover(signals).residual_norms
        return float((norms <= 1e-9 * np.linalg.norm(signals, axis=1)).mean()) - 0.01 * encoder.k

    search = GridSearchCV(OMPEncoder(W, 1), {"k": [1, 2, 3, 4, 5]}, scoring=score, cv=2, error_score="raise")
    clean = W.matvec(X)
    clean = clean[omp(W, clean, 3).status == RecoveryStatus.RESIDUAL_SMALL]
    assert len(clean) > 20
    assert search.fit(clean).best_params_ == {"k": 3}
    assert search.transform(clean).shape == (len(clean), 90)


def test_tags():
    tags = get_tags(OMPEncoder(W, 4))
    assert tags.input_tags.sparse
    assert not tags.target_tags.required
    assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]
    assert tags.requires_fit


@pytest.mark.parametrize("method", ["transform", "recover", "inverse_transform"])
def test_before_fit(method):
    encoder = OMPEncoder(W, 4)
    with pytest.raises(NotFitted, match="not fitted yet: call fit first") as caught:
        getattr(encoder, method)(H)
    assert isinstance(caught.value, ExpanderTheoryError)
    assert all(issubclass(NotFitted, base) for base in NotFittedError.__bases__)
    with pytest.raises(NotFittedError):
        check_is_fitted(encoder)
    check_is_fitted(encoder.fit())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dictionary": np.ones(3)}, "dictionary = array of shape"),
        ({"k": 41}, "k = 41: must be"),
        ({"relative_tolerance": 2.0}, "relative_tolerance = 2.0: must be"),
        ({"selection": "largest"}, "selection = 'largest': must be"),
        ({"backend": "product"}, "backend = 'product': must be"),
        ({"n_jobs": 0}, "n_jobs = 0: must be"),
        ({"codes_format": "coo"}, "codes_format = 'coo': must be one of csr, csc, dense"),
    ],
)
def test_fit_names_bad_parameters(parameters, message):
    """Not the constructor, which must not look at them."""
    encoder = OMPEncoder(**{"dictionary": W, "k": 4, **parameters})
    with pytest.raises(InvalidArgument, match=f"^{message}"):
        encoder.fit()
    with pytest.raises(NotFitted):
        encoder.transform(H)


def test_bad_signals_are_named():
    with pytest.raises(InvalidArgument, match=r"^X = array of shape \(50, 90\): must have 40 columns"):
        OMPEncoder(W, 4).fit(X)
    with pytest.raises(InvalidArgument, match=r"^X = array of shape \(\): must have 40 columns"):
        OMPEncoder(W, 4).fit(1.0)
    with pytest.raises(InvalidArgument, match=r"^signals = array of shape \(50, 90\)"):
        OMPEncoder(W, 4).fit().transform(X)
    with pytest.raises(InvalidArgument, match=r"^signals = array of complex128: must be real numbers"):
        OMPEncoder(W, 4).fit(np.ones((2, 40), complex))


def test_scikit_learn_is_not_imported():
    program = "import sys, expander_theory.solvers.omp.estimator; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
