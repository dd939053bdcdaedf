"""A file with functions as users bring them, for sweeps."""

from expander_theory.results import read_ledger

TEN_LINES = '''\
"""A solver of ten lines: the columns that correlate most, then least squares."""

import numpy as np


def solve(W, signals, k):
    dense = W.toarray() if hasattr(W, "toarray") else W
    atoms = np.argsort(-np.abs(signals @ dense), axis=1, kind="stable")[:, :k]
    fits = [np.linalg.lstsq(dense[:, own], h, rcond=None)[0] for own, h in zip(atoms, signals)]
    return atoms, np.stack(fits)
'''
LAWS = """\
import numpy as np


def gaussian(m, n, d, rng):
    return rng.standard_normal((m, n))


def codes(n, k, batch, rng):
    return np.argsort(rng.random((batch, n)), axis=1)[:, :k], rng.standard_normal((batch, k))


def noise(signals, rng):
    return signals + 1e-3 * rng.standard_normal(signals.shape)


def exact(planted, found):
    return ((planted != 0) == (found != 0)).all(axis=1)


def fails(W, signals, k):
    raise ArithmeticError("the solver gave up")


def breaks(m, n, d, rng):
    raise ArithmeticError("no such matrix")


def leaves(W, signals, k):
    raise SystemExit(0)


def refuses(m, n, d, rng):
    return np.zeros((m, n))
"""


def write_functions(folder):
    """``mine.py`` with :data:`TEN_LINES` and ``laws.py`` with :data:`LAWS`; returns their paths."""
    (folder / "mine.py").write_text(TEN_LINES)
    (folder / "laws.py").write_text(LAWS)
    return folder / "mine.py", folder / "laws.py"


def records_in(ledger):
    """Its records, in an order that does not depend on who finished first."""
    return sorted(map(repr, read_ledger(ledger)[1]))
