"""ExpanderDictionaryLearning as scikit-learn asks of every estimator, and without scikit-learn."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from expander_theory import ExpanderDictionaryLearning, InvalidArgument, uniform_mask

X = np.random.default_rng(0).standard_normal((60, 12))


@parametrize_with_checks(
    [
        ExpanderDictionaryLearning(max_iter=5),
        ExpanderDictionaryLearning(8, supports="uniform", degree=1, batch_size=16, max_iter=5),
    ]
)
def test_scikit_learn(estimator, check):
    check(estimator)


def fitted(**parameters):
    given = {"n_components": 20, "degree": 3, "n_nonzero_coefs": 2, "max_iter": 4, "random_state": 0, **parameters}
    return ExpanderDictionaryLearning(**given).fit(X)


@pytest.mark.parametrize("supports", ["learned", "uniform", uniform_mask(12, 18, 3, seed=1)])
def test_clone_and_pickle(supports):
    learned = fitted(supports=supports, n_dense=2)
    again = clone(learned)
    assert not hasattr(again, "dictionary_")
    stored = pickle.dumps(learned)
    assert len(stored) < 10_000  # without the residuals of the last samples
    restored = pickle.loads(stored)
    for other in (again.fit(X), restored):
        np.testing.assert_array_equal(other.components_, learned.components_)
        np.testing.assert_array_equal(other.transform(X), learned.transform(X))
    restored.partial_fit(X)  # learns on as the original does
    np.testing.assert_array_equal(restored.components_, learned.partial_fit(X).components_)


def test_in_a_pipeline_and_a_search():
    pipeline = make_pipeline(StandardScaler(), ExpanderDictionaryLearning(20, max_iter=3, random_state=0))
    assert pipeline.fit_transform(X).shape == (60, 20)
    assert list(pipeline.get_feature_names_out()[:2]) == ["expanderdictionarylearning0", "expanderdictionarylearning1"]
    assert pipeline.inverse_transform(pipeline.transform(X)).shape == X.shape
    search = GridSearchCV(fitted(), {"n_nonzero_coefs": [1, 6]}, cv=2, error_score="raise").fit(X)
    assert search.best_params_ == {"n_nonzero_coefs": 6}
    assert get_tags(search.best_estimator_).transformer_tags.preserves_dtype == ["float64", "float32"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "n_components = 0: must be at least 1"),
        ({"n_components": 2.5}, "n_components = 2.5: must be an integer"),
        ({"degree": 13}, "degree = 13: must be between 1 and the number of features, 12"),
        ({"degree": 0}, "degree = 0: must be"),
        ({"n_dense": 20}, "n_dense = 20: must be between 0 and n_components - 1 = 19"),
        ({"n_dense": -1}, "n_dense = -1: must be"),
        ({"supports": "random"}, "supports = 'random': must be 'learned', 'uniform' or a Mask"),
        ({"supports": 3}, "supports = 3: must be"),
        ({"supports": uniform_mask(13, 20, 3, seed=0)}, r"supports = Mask\(m=13.*must have m = 12 rows"),
        ({"supports": uniform_mask(12, 20, 4, seed=0)}, "degree = 3: must be None or that of the mask, 4"),
        ({"supports": uniform_mask(12, 19, 3, seed=0)}, "n_components = 20: must be None, or the mask's columns"),
        ({"n_nonzero_coefs": 13}, r"n_nonzero_coefs = 13: must be between 1 and min\(features, n_components\) = 12"),
        ({"max_iter": 0}, "max_iter = 0: must be at least 1"),
        ({"batch_size": 0}, "batch_size = 0: must be at least 1"),
        ({"n_iter_no_change": 0}, "n_iter_no_change = 0: must be at least 1"),
        ({"tol": 1.0}, r"tol = 1.0: must be in \[0, 1\), or None"),
        ({"tol": "small"}, "tol = 'small': must be a number"),
        ({"dict_init": np.ones((20, 11))}, r"dict_init = array of shape \(20, 11\): must have shape \(20, 12\)"),
        ({"codes_format": "csc"}, "codes_format = 'csc': must be one of dense, csr"),
        ({"n_jobs": 0}, "n_jobs = 0: must be at least 1, or -1"),
    ],
)
def test_fit_names_bad_parameters(parameters, message):
    with pytest.raises(InvalidArgument, match=f"^{message}"):
        fitted(**parameters)


def test_bad_data():
    with pytest.raises(NotFittedError):
        ExpanderDictionaryLearning().transform(X)
    with pytest.raises(ValueError, match="NaN"):
        ExpanderDictionaryLearning().fit(np.full((3, 4), np.nan))
    with pytest.raises(InvalidArgument, match=r"^X = codes of shape \(60, 12\): must have 20 columns"):
        fitted().inverse_transform(X)
    with pytest.raises(ValueError, match="12 features"):
        fitted().partial_fit(X[:, :5])


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_scikit_learn_is_imported_when_the_class_is_asked_for():
    program = "import sys, expander_theory, expander_theory.learning; sys.exit('sklearn' in sys.modules)"
    assert run(program).returncode == 0


HIDDEN = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "sklearn":
            raise ModuleNotFoundError("No module named 'sklearn'", name=name)
sys.meta_path.insert(0, Hidden())
import expander_theory
"""


def test_without_scikit_learn_the_extra_is_named():
    assert run(f"{HIDDEN}assert isinstance(expander_theory.ExpanderDictionaryLearning, type)").returncode == 0
    message = run(f"{HIDDEN}expander_theory.ExpanderDictionaryLearning(5)").stderr.splitlines()[-1]
    assert "MissingResource: ExpanderDictionaryLearning needs sklearn: run `pip install" in message
    assert "expander-theory[learn]" in message
