"""The Lasso of other packages as solvers for sweeps: scikit-learn's and skglm's.

    expander sweep lasso --n 256 --family dense uniform --d 8 \
        --solver omp examples/lasso_solvers.py:sklearn_lasso examples/lasso_solvers.py:skglm_lasso

Both minimise ||h - W x||^2 / (2 m) + alpha ||x||_1; of the minimiser the k largest entries count as its support.
"""

import warnings

import numpy as np

ALPHA = 0.01  # of the least alpha that gives the zero code


def sklearn_lasso(W, signals, k):
    """Codes (batch, n) by scikit-learn's coordinate descent, one signal at a time."""
    from sklearn.linear_model import Lasso

    return _each(W, signals, lambda alpha: Lasso(alpha=alpha, fit_intercept=False, tol=1e-6, max_iter=2000))


def skglm_lasso(W, signals, k):
    """Codes (batch, n) by skglm's working sets."""
    from skglm import Lasso

    return _each(W, signals, lambda alpha: Lasso(alpha=alpha, fit_intercept=False, tol=1e-8))


def _each(W, signals, model):
    dense = np.asfortranarray(W.toarray() if hasattr(W, "toarray") else W, float)
    codes = np.zeros((len(signals), W.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both warn where the gap is not reached in time: the code is what it is
        for code, h in zip(codes, signals.astype(float), strict=True):
            alpha = ALPHA * np.abs(dense.T @ h).max() / len(h)
            code[:] = model(alpha).fit(dense, h).coef_
    return codes
