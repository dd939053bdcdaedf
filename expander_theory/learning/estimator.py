"""Dictionary learning as scikit-learn has it, on sparse columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from expander_theory.base import generator, require, require_choice, require_int, require_real
from expander_theory.dictionaries import Floats
from expander_theory.learning._learner import Learner, Sizes
from expander_theory.learning._start import chosen_samples
from expander_theory.masks import Mask, uniform_mask
from expander_theory.solvers import omp

if TYPE_CHECKING:
    import scipy.sparse

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn before 1.6 has it as a method

    def validate_data(_estimator: Any, /, X: Any, **how: Any) -> Any:
        return _estimator._validate_data(X, **how)


SUPPORTS = ("learned", "uniform")
FORMATS = ("dense", "csr")
_MOVING = 0.8
"""Share of the passes in which supports move, at most; values settle in the others."""
_DTYPES: Any = [np.float64, np.float32]


class ExpanderDictionaryLearning(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A dictionary whose columns have d nonzeros each, learned for codes by orthogonal matching pursuit.

    Minimises sum_i ||x_i - W c_i||^2 over codes c_i of at most k nonzeros and W (m, n) with unit columns, of which
    ``n_dense`` are dense and the others have ``degree`` nonzeros. Codes are those of :func:`expander_theory.omp`; W
    takes block-coordinate steps after every mini-batch, and rows of its columns move by drop and grow. Nothing is
    subtracted from the data: take their mean away first where it is large. float32 stays float32, all else is float64.

    Memory beside the data is O(``n_dense`` m + n d), and up to 8,192 samples' residuals where supports are learned.
    Sources: Mairal et al. 2010 (online learning), Evci et al. 2020 (drop and grow).

    Args:
        n_components: n; default m, the number of features, or what a mask and ``n_dense`` make.
        degree: d, 1..m, of each column that is not dense; default min(8, m), or that of a mask.
        n_dense: dense columns, 0..n - 1, the first ones of the dictionary.
        supports: "learned", "uniform" (random, they stay), or a :class:`expander_theory.Mask` (it stays).
        n_nonzero_coefs: k, 1..min(m, n); default m / 10 as in scikit-learn's OMP, at least 1.
        max_iter: passes over the data, at most.
        batch_size: samples between two steps; the last batch of a pass may be smaller.
        shuffle: whether each pass takes the samples in a new order.
        tol: a pass improves if its error is below (1 - tol) times the least one before; None never stops early.
        n_iter_no_change: passes without improvement in succession, after which learned supports settle, and after as
            many again ``fit`` stops. Supports settle after 80 % of ``max_iter`` in any case.
        dict_init: (n, m) columns to begin with, as rows; default random samples. Each is cut to its largest entries, or
            to the rows of its mask, and normalised.
        n_jobs: threads of the pursuit, -1 for all processors; results do not depend on it.
        codes_format: of what ``transform`` returns: "dense" or "csr" (a scipy.sparse array).
        verbose: 1 prints the error of every pass.
        random_state: of the first columns, uniform supports and the order of the samples: an int, a RandomState or
            None.

    Attributes:
        dictionary_: W, an :class:`expander_theory.Dictionary`, or a :class:`expander_theory.BlockDictionary` with dense
            columns.
        components_: W^T as a dense array (n, m), made anew when asked for.
        error_: of each pass of ``fit``, the mean over entries of the squared residual, each batch before its step.
        n_iter_: passes of ``fit``; what ``partial_fit`` learns is not counted.
        n_steps_: batches.
        n_features_in_: m.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        degree: int | None = None,
        n_dense: int = 0,
        supports: Literal["learned", "uniform"] | Mask = "learned",
        n_nonzero_coefs: int | None = None,
        max_iter: int = 100,
        batch_size: int = 256,
        shuffle: bool = True,
        tol: float | None = 1e-3,
        n_iter_no_change: int = 5,
        dict_init: ArrayLike | None = None,
        n_jobs: int = 1,
        codes_format: Literal["dense", "csr"] = "dense",
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.degree = degree
        self.n_dense = n_dense
        self.supports: Literal["learned", "uniform"] | Mask = supports
        self.n_nonzero_coefs = n_nonzero_coefs
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.dict_init = dict_init
        self.n_jobs = n_jobs
        self.codes_format: Literal["dense", "csr"] = codes_format
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> ExpanderDictionaryLearning:
        """Learn a dictionary anew from samples X (samples, m), in passes over all of them.

        Args:
            X: finite real numbers; it is not changed.
            y: ignored.

        Raises:
            InvalidArgument: a parameter out of range (a ValueError, as are scikit-learn's own for a bad X).
        """
        x = cast(Floats, validate_data(self, X, dtype=_DTYPES, order="C"))
        passes, patience, tol = self._passes()
        seed = self._begin(x)
        order, errors, best, without = generator(seed, "order of samples"), [], np.inf, 0
        while len(errors) < passes:
            if not self._learner.settled and (without == patience or len(errors) >= _MOVING * passes):
                self._learner.settled, without = True, 0
            if without == patience:
                break
            picked = order.permutation(len(x)) if self.shuffle else None
            errors.append(self._learn(x, picked) / x.size)
            if self.verbose:
                print(f"[{type(self).__name__}] pass {len(errors)} of {passes}: mean squared error {errors[-1]:.6g}")
            if tol is not None:
                without = 0 if errors[-1] < best * (1 - tol) else without + 1
            best = min(best, errors[-1])
        self._learner.rest()
        self.dictionary_ = self._learner.dictionary
        self.error_ = np.array(errors)
        self.n_iter_ = len(errors)
        return self

    def partial_fit(self, X: ArrayLike, y: object = None) -> ExpanderDictionaryLearning:
        """Learn on from samples X (samples, m), one pass in the order given, in batches of ``batch_size``.

        The first call takes the sizes from the parameters and its first columns from X; after ``fit`` it goes on with
        that dictionary. Later changes of sizes have no effect until the next ``fit``.

        Args:
            X: finite real numbers, converted to the dtype of the first call.
            y: ignored.

        Raises:
            InvalidArgument: a parameter out of range.
        """
        begun = hasattr(self, "_learner")
        dtype = self._learner.values.dtype if begun else _DTYPES
        x = cast(Floats, validate_data(self, X, dtype=dtype, order="C", reset=not begun))
        if not begun:
            self._begin(x)
        self._learn(x, None)
        self.dictionary_ = self._learner.dictionary
        return self

    def transform(self, X: ArrayLike) -> Floats | scipy.sparse.csr_array:
        """The codes (samples, n) of samples X (samples, m), each with at most k nonzeros, in ``codes_format``.

        Raises:
            NotFittedError: before ``fit``.
            InvalidArgument: ``codes_format`` or ``n_jobs`` out of range.
        """
        check_is_fitted(self)
        require_choice("codes_format", self.codes_format, FORMATS)
        x = cast(Floats, validate_data(self, X, dtype=_DTYPES, order="C", reset=False))
        # One backend, or the last bits of a sample's code would depend on how many others come with it.
        found = omp(self.dictionary_, x, self._learner.sizes.k, backend="tile", n_jobs=self.n_jobs)
        return found.to_dense() if self.codes_format == "dense" else found.to_scipy()

    def inverse_transform(self, X: ArrayLike | Any) -> Floats:
        """The samples (samples, m) that codes X (samples, n), dense or scipy.sparse, stand for: X W^T.

        Raises:
            NotFittedError: before ``fit``.
            InvalidArgument: codes of another width.
        """
        import scipy.sparse

        check_is_fitted(self)
        how: Any = {"accept_sparse": "csr", "dtype": _DTYPES}
        codes: Any = scipy.sparse.csr_array(check_array(X, **how))
        n = self.dictionary_.n
        require(codes.shape[1] == n, "X", f"codes of shape {codes.shape}", f"must have {n} columns")
        return (codes @ self.dictionary_.to_scipy().T).toarray()

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Minus the mean over all entries of X (samples, m) of the squared residual (X - codes W^T): larger is better.

        Raises:
            NotFittedError: before ``fit``.
        """
        check_is_fitted(self)
        x = cast(Floats, validate_data(self, X, dtype=_DTYPES, order="C", reset=False))
        found = omp(self.dictionary_, x, self._learner.sizes.k, backend="tile", n_jobs=self.n_jobs)
        return -float(np.square(found.residual_norms, dtype=np.float64).sum() / x.size)

    @property
    def components_(self) -> Floats:
        """The columns of ``dictionary_`` as the rows of a dense array (n, m)."""
        return np.ascontiguousarray(self.dictionary_.to_dense().T)

    @property
    def n_steps_(self) -> int:
        """Batches learned from, by ``fit`` and ``partial_fit``."""
        return self._steps

    @property
    def _n_features_out(self) -> int:
        return self.dictionary_.n

    def _begin(self, x: Floats) -> int:
        """A new learner for samples x; the seed of all that is random."""
        sizes, mask = self._sizes(x.shape[1])
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if mask is None and not sizes.learned:
            mask = uniform_mask(sizes.m, sizes.n - sizes.r, sizes.d, seed=seed)
        if self.dict_init is None:
            first = chosen_samples(x, sizes.n, seed)
        else:
            first = cast(Floats, check_array(self.dict_init, dtype=cast(Any, x.dtype), input_name="dict_init"))
            shape = (sizes.n, sizes.m)
            require(first.shape == shape, "dict_init", f"array of shape {first.shape}", f"must have shape {shape}")
        self._learner = Learner(sizes, first, seed, None if mask is None else mask.rows)
        self._steps = 0
        return seed

    def _learn(self, x: Floats, order: NDArray[np.intp] | None) -> float:
        """One pass over x; the sum of the squared residuals."""
        total, batch = 0.0, self._learner.sizes.batch
        for first in range(0, len(x), batch):
            place = slice(first, first + batch)
            total += self._learner.step(x[place] if order is None else x[order[place]], self.n_jobs)
            self._steps += 1
        return total

    def _passes(self) -> tuple[int, int, float | None]:
        """The parameters of ``fit`` alone, checked: passes, those without improvement, the least improvement."""
        passes, patience = (require_int(name, getattr(self, name)) for name in ("max_iter", "n_iter_no_change"))
        require(passes >= 1, "max_iter", passes, "must be at least 1")
        require(patience >= 1, "n_iter_no_change", patience, "must be at least 1")
        tol = None if self.tol is None else require_real("tol", self.tol)
        require(tol is None or 0 <= tol < 1, "tol", tol, "must be in [0, 1), or None")
        return passes, patience, tol

    def _sizes(self, m: int) -> tuple[Sizes, Mask | None]:
        """The parameters that a learner is made by, checked, with their defaults for m features."""
        mask = self.supports if isinstance(self.supports, Mask) else None
        require_choice("codes_format", self.codes_format, FORMATS)
        r = require_int("n_dense", self.n_dense)
        if mask is None:
            allowed = "must be 'learned', 'uniform' or a Mask"
            known = isinstance(self.supports, str) and self.supports in SUPPORTS
            require(known, "supports", repr(self.supports), allowed)
            n, d = (
                (m if self.n_components is None else self.n_components),
                (min(8, m) if self.degree is None else self.degree),
            )
        else:
            require(mask.m == m, "supports", mask, f"must have m = {m} rows, as X has columns")
            n = mask.n + r if self.n_components is None else self.n_components
            d = mask.d if self.degree is None else self.degree
            require(d == mask.d, "degree", d, f"must be None or that of the mask, {mask.d}")
        n, d, batch = (
            require_int("n_components", n),
            require_int("degree", d),
            require_int("batch_size", self.batch_size),
        )
        require(n >= 1, "n_components", n, "must be at least 1")
        require(1 <= d <= m, "degree", d, f"must be between 1 and the number of features, {m}")
        require(0 <= r < n, "n_dense", r, f"must be between 0 and n_components - 1 = {n - 1}")
        if mask is not None:
            require(
                n == mask.n + r, "n_components", n, f"must be None, or the mask's columns and n_dense: {mask.n + r}"
            )
        require(batch >= 1, "batch_size", batch, "must be at least 1")
        most = min(m, n)
        k = min(most, max(1, m // 10)) if self.n_nonzero_coefs is None else self.n_nonzero_coefs
        k = require_int("n_nonzero_coefs", k)
        require(1 <= k <= most, "n_nonzero_coefs", k, f"must be between 1 and min(features, n_components) = {most}")
        return Sizes(m, n, r, d, k, batch, mask is None and self.supports == "learned"), mask

    def _more_tags(self) -> dict[str, Any]:  # asked for by scikit-learn before 1.6
        return {"preserves_dtype": _DTYPES}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
