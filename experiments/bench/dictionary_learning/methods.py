"""Ways to get a dictionary from samples: learned ones of three libraries, and what has learned nothing or only a basis.

Every method returns a dictionary or, where codes are simply the k largest coordinates in an orthonormal basis, that
basis: OMP on it chooses the same coordinates.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np

from expander_theory.dictionaries import AnyDictionary, DenseDictionary, Floats, gaussian_dictionary
from expander_theory.masks import uniform_mask
from experiments.bench.dictionary_learning.problems import Problem

SPAMS_STEPS = {"patches": 200, "digits": 200}
"""Mini-batches of SPAMS, for about our time; five times as many lower its error by 2 to 3 %."""
SKLEARN = {"patches": (0.3, 3), "digits": (0.1, 10)}
"""The lasso's penalty, of .1 and .3 the better one, and passes."""
OUR_PASSES = {"patches": 10, "digits": 200}
DENSE_COLUMNS = {"patches": 24, "digits": 8}
BATCH = 256


@dataclass(frozen=True)
class Method:
    """A way to get a dictionary.

    Attributes:
        name: for tables.
        package: the import that it needs; a method whose package is missing is left out.
        fit: the dictionary from a problem and a seed.
        formula: whether it is a formula, of which nothing is stored.
    """

    name: str
    package: str
    fit: Callable[[Problem, int], AnyDictionary]
    formula: bool = False


def ours(problem: Problem, seed: int, *, degree: int, dense: bool, supports: Any = "learned") -> AnyDictionary:
    """:class:`expander_theory.ExpanderDictionaryLearning`, a fixed number of passes."""
    from expander_theory import ExpanderDictionaryLearning

    how = ExpanderDictionaryLearning(
        problem.n,
        degree=degree,
        n_dense=DENSE_COLUMNS[problem.name] if dense else 0,
        supports=supports,
        n_nonzero_coefs=problem.k,
        max_iter=OUR_PASSES[problem.name],
        batch_size=BATCH,
        tol=None,
        random_state=seed,
    )
    return how.fit(problem.train).dictionary_


def mini_batch(problem: Problem, seed: int) -> AnyDictionary:
    """scikit-learn's MiniBatchDictionaryLearning. Its fit codes by the lasso only: alpha is in units of the norm of a
    sample, and coordinate descent three times as fast as LARS and as good, although it says that it did not converge.
    """
    from sklearn.decomposition import MiniBatchDictionaryLearning
    from sklearn.exceptions import ConvergenceWarning

    alpha, passes = SKLEARN[problem.name]
    learned = MiniBatchDictionaryLearning(
        problem.n,
        alpha=cast(int, alpha * problem.train.std() * problem.side),
        batch_size=BATCH,
        max_iter=passes,
        fit_algorithm="cd",
        tol=0,
        max_no_improvement=cast(int, None),  # never stops early
        random_state=seed,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        learned.fit(problem.train)
    return _sound(learned.components_)


def spams_dictionary(problem: Problem, seed: int) -> AnyDictionary:
    """SPAMS's trainDL with its own OMP codes of k atoms (mode 3), Mairal et al. 2010."""
    import spams  # pyright: ignore[reportMissingImports]

    start = problem.train[np.random.default_rng(seed).permutation(len(problem.train))[: problem.n]]
    start = start / np.maximum(np.linalg.norm(start, axis=1, keepdims=True), 1e-12)
    columns: Any = spams.trainDL(
        np.asfortranarray(problem.train.T), D=np.asfortranarray(start.T), mode=3, lambda1=problem.k, numThreads=1,
        batchsize=BATCH, iter=SPAMS_STEPS[problem.name], verbose=False,
    )  # fmt: skip
    return _sound(columns.T)


def random_mask(problem: Problem, seed: int, *, degree: int = 8) -> AnyDictionary:
    """Gaussian values on a uniform mask."""
    m = problem.train.shape[1]
    return gaussian_dictionary(uniform_mask(m, problem.n, degree, seed=seed), seed=seed)


def coordinates(problem: Problem, seed: int) -> AnyDictionary:
    """The pixels: codes keep the k largest."""
    return DenseDictionary(np.eye(problem.train.shape[1]))


def cosines(problem: Problem, seed: int) -> AnyDictionary:
    """The two-dimensional discrete cosine transform, orthonormal."""
    from scipy.fft import dct

    one: Any = dct(np.eye(problem.side), norm="ortho", axis=0)
    return DenseDictionary(cast(Floats, np.kron(one, one)))


def principal(problem: Problem, seed: int) -> AnyDictionary:
    """All principal directions of the samples: codes keep the k largest coordinates in them."""
    _, _, directions = np.linalg.svd(problem.train, full_matrices=False)
    return DenseDictionary(directions)


def _sound(columns: Any) -> DenseDictionary:
    """Columns (n, m) without those that are zero: atoms that never were used."""
    given: Floats = np.asarray(columns, np.float64)
    return DenseDictionary(given[np.abs(given).max(axis=1) > 0])


METHODS = (
    *(
        Method(f"ours, d = {degree}{', dense columns' * dense}", "sklearn", partial(ours, degree=degree, dense=dense))
        for dense in (False, True)
        for degree in (4, 8, 16)
    ),
    Method("ours, d = 8, fixed random supports", "sklearn", partial(ours, degree=8, dense=False, supports="uniform")),
    Method("scikit-learn MiniBatchDictionaryLearning", "sklearn", mini_batch),
    Method("SPAMS trainDL, OMP", "spams", spams_dictionary),
    Method("random mask, d = 8", "numpy", random_mask),
    Method("k largest pixels", "numpy", coordinates, formula=True),
    Method("k largest cosines (DCT)", "scipy", cosines, formula=True),
    Method("k largest principal coordinates", "numpy", principal),
)
