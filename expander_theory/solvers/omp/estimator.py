"""OMP as a transformer in scikit-learn's style, which itself is not needed."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expander_theory.base import ExpanderTheoryError, require, require_choice
from expander_theory.dictionaries import (
    AnyDictionary,
    DenseDictionary,
    Floats,
    as_dictionary,
    real_array,
    require_sound,
)
from expander_theory.solvers.omp.omp import Backend, Selection, dense_signals, omp
from expander_theory.solvers.omp.prepared import Prepared
from expander_theory.solvers.recovery import Recovery

if TYPE_CHECKING:
    import scipy.sparse

    CodeLaw = scipy.sparse.csr_array | scipy.sparse.csc_array | Floats

CODES_FORMATS = ("csr", "csc", "dense")


class NotFitted(ExpanderTheoryError, ValueError, AttributeError):
    """An encoder was used before ``fit``; scikit-learn's NotFittedError has the same builtin bases."""


class OMPEncoder:
    """Sparse codes of signals by :func:`omp`, as a transformer for pipelines, ``clone`` and parameter searches.

    ``fit`` learns nothing from the signals: it prepares the dictionary, so that the row lists or the Gram matrix that a
    backend derives from it are computed once, not at every ``transform``. ``set_params(dictionary=...)`` takes effect
    at the next ``fit``, all other parameters at once.

    Args:
        dictionary: what :func:`omp` takes: a dictionary, or a NumPy or scipy.sparse (m, n) matrix, or prepared.
        k: sparsity, 1..min(m, n).
        relative_tolerance: as in :func:`omp`.
        selection: as in :func:`omp`.
        backend: as in :func:`omp`.
        n_jobs: as in :func:`omp`.
        codes_format: of what ``transform`` returns: "csr", "csc" (scipy.sparse arrays) or "dense".

    Attributes:
        n_features_in_: m, after ``fit``.
    """

    def __init__(
        self,
        dictionary: AnyDictionary | Prepared | ArrayLike | Any,
        k: int,
        *,
        relative_tolerance: float | None = None,
        selection: Selection = "magnitude",
        backend: Backend = "auto",
        n_jobs: int = 1,
        codes_format: Literal["csr", "csc", "dense"] = "csr",
    ) -> None:
        self.dictionary = dictionary  # all as given: clone compares by identity
        self.k = k
        self.relative_tolerance = relative_tolerance
        self.selection: Selection = selection
        self.backend: Backend = backend
        self.n_jobs = n_jobs
        self.codes_format = codes_format

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters of ``__init__`` by name; ``deep`` changes nothing, as none of them has parameters."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> OMPEncoder:
        """Change parameters by name.

        Raises:
            InvalidArgument: no such parameter; none is changed then.
        """
        known = self.get_params()
        for name in params:
            require(name in known, name, repr(params[name]), f"is no parameter: must be one of {', '.join(known)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def fit(self, X: ArrayLike | Any = None, y: object = None) -> OMPEncoder:
        """Check all parameters and prepare the dictionary, for the dtype of X or, without X, its own.

        Args:
            X: signals (batch, m), of which only dtype and width matter.
            y: ignored.

        Raises:
            InvalidArgument: a parameter out of range, or an X of another width.
        """
        import scipy.sparse

        given = self.dictionary
        prepared = isinstance(given, Prepared)
        self._dictionary = given.dictionary if prepared else as_dictionary(given)
        self._prepared = {given.dtype: given} if prepared else {}
        m, dtype = self._dictionary.m, given.dtype if prepared else self._dictionary.dtype
        if X is not None:
            signals: Any = X if scipy.sparse.issparse(X) else np.asarray(X)
            require(signals.shape[-1:] == (m,), "X", f"array of shape {signals.shape}", f"must have {m} columns")
            dtype = signals.dtype
        self._solve(np.empty((0, m), dtype))
        self.n_features_in_ = m
        return self

    def recover(self, X: ArrayLike | Any) -> Recovery:
        """Everything :func:`omp` finds about signals X, (batch, m) or (m,): statuses and residual norms too.

        Raises:
            NotFitted: before ``fit``.
            InvalidArgument: bad signals or parameters.
        """
        self._require_fitted()
        return self._solve(np.asarray(dense_signals(X)))

    def _solve(self, signals: NDArray[Any]) -> Recovery:
        require_choice("codes_format", self.codes_format, CODES_FORMATS)
        dtype = np.dtype(np.float32 if signals.dtype == np.float32 else np.float64)
        if dtype not in self._prepared:
            self._prepared[dtype] = Prepared(self._dictionary, dtype)
        return omp(
            self._prepared[dtype],
            signals,
            self.k,
            relative_tolerance=self.relative_tolerance,
            selection=self.selection,
            backend=self.backend,
            n_jobs=self.n_jobs,
        )

    def transform(self, X: ArrayLike | Any) -> CodeLaw:
        """Codes (batch, n) of signals X, (batch, m) or (m,), in ``codes_format``. Raises as :meth:`recover`."""
        found = self.recover(X)
        if self.codes_format == "dense":
            return found.to_dense()
        return found.to_csc() if self.codes_format == "csc" else found.to_scipy()

    def fit_transform(self, X: ArrayLike | Any, y: object = None) -> CodeLaw:
        """``fit``, then ``transform``."""
        return self.fit(X, y).transform(X)

    def inverse_transform(self, X: ArrayLike | Any) -> Floats:
        """The signals (batch, m) of codes X, (batch, n) or (n,), dense or scipy.sparse: X W^T. Codes in float32
        give signals in float32, all others in float64.

        Raises:
            NotFitted: before ``fit``.
            InvalidArgument: codes of another width, no real numbers, NaN or infinity.
        """
        import scipy.sparse

        self._require_fitted()
        w = self._dictionary
        given = require_sound("X", X) if scipy.sparse.issparse(X) else np.atleast_2d(real_array("X", X))
        codes: Any = scipy.sparse.csr_array(given)
        require(
            codes.shape[1] == w.n, "X", f"codes of shape {codes.shape}", f"must have shape (batch, {w.n}) or ({w.n},)"
        )
        require(bool(np.isfinite(codes.data).all()), "X", "codes with NaN or infinity", "must be finite")
        signals: Any = codes @ (w.values if isinstance(w, DenseDictionary) else w.to_scipy().T)
        dense = signals.toarray() if scipy.sparse.issparse(signals) else signals
        return dense.astype(np.float32 if codes.dtype == np.float32 else np.float64, copy=False)

    def _require_fitted(self) -> None:
        if not hasattr(self, "n_features_in_"):
            raise NotFitted("this OMPEncoder is not fitted yet: call fit first")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn 1.6 and later asks of every member of a pipeline; only it calls this."""
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"]),
            input_tags=InputTags(sparse=True),
        )
