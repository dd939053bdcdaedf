"""Approximate message passing with soft thresholds (Donoho, Maleki and Montanari 2009), as a solver for sweeps.

    expander sweep amp --n 512 --family dense uniform --d 8 --solver omp examples/amp_solver.py:amp

On Gaussian dictionaries it reaches the boundary of l1 minimisation; on sparse masks its correction term is wrong.
"""

import numpy as np


def amp(W, signals, k):
    """Codes (batch, n) of signals (batch, m): iterations of x <- soft(x + W^T z), z <- h - W x + z ||x||_0 / m."""
    m, n = W.shape
    x, z = np.zeros((len(signals), n)), signals.astype(float)
    for _ in range(60):
        pseudo = x + z @ W
        level = 1.5 * np.linalg.norm(z, axis=1, keepdims=True) / np.sqrt(m)
        x = np.sign(pseudo) * np.maximum(np.abs(pseudo) - level, 0)
        onsager = np.minimum((x != 0).sum(axis=1, keepdims=True) / m, 1)  # above 1 it would only diverge
        z = signals - x @ W.T + onsager * z
    return x
