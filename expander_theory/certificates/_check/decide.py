"""The properties of SAMPLED.md for one support: solutions of linear systems with bounds of their errors, and integers.

A bound of the error of sums of products of floats, whatever the order: p products are off by at most
p u / (1 - p u) times the sum of their moduli, u = 2^-53. Where that leaves a property open, rationals decide.
"""

from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.certificates._check.overlaps import overlap_counts
from expander_theory.dictionaries import AnyDictionary, BlockDictionary, Dictionary

Floats = NDArray[np.float64]
SAFE = 1 + 1e-9  # for the rounding of bounds themselves


class Columns:
    """The columns of a dictionary in float64 (float32 values are not changed by that), scaled by a power of two."""

    def __init__(self, dictionary: AnyDictionary) -> None:
        self.m, self.n = dictionary.m, dictionary.n
        self.mask = dictionary.mask if isinstance(dictionary, Dictionary) else None
        self.full = isinstance(dictionary, Dictionary) and bool((dictionary.values != 0).all())
        given = dictionary.densified() if isinstance(dictionary, BlockDictionary) else dictionary
        values = self.stored = given.values.astype(np.float64)
        self.exponent = int(np.frexp(np.abs(values).max())[1])
        with np.errstate(under="ignore"):
            self.values = np.ldexp(values, -self.exponent)
        self.terms = values.shape[1]
        self.longest = float((self.values**2).sum(axis=1).max()) * SAFE
        """Of the squared norms, in this scale: no inner product of two columns is larger."""
        moduli = np.unique(np.abs(values[values != 0]))
        self.modulus = float(np.ldexp(moduli[0], -self.exponent)) if moduli.size == 1 else None

    @cached_property
    def transposed(self) -> Any:
        """(n, m), scipy.sparse where there is a mask."""
        if self.mask is None:
            return self.values
        import scipy.sparse

        starts = np.arange(0, self.values.size + 1, self.terms)
        return scipy.sparse.csr_array((self.values.ravel(), self.mask.rows.ravel(), starts), shape=(self.n, self.m))

    @cached_property
    def overlap(self) -> int:
        """The largest number of rows that two columns of the mask share."""
        assert self.mask is not None
        return overlap_counts(self.m, self.mask.rows, progress=False)[1]

    def products(self, support: list[int]) -> Floats:
        """p_jl for all columns j and l in the support, (n, k), each off by at most :meth:`product_error`."""
        chosen = self.transposed[support]
        chosen = chosen.toarray() if self.mask is not None else chosen
        return np.asarray(self.transposed @ np.ascontiguousarray(chosen.T))

    @property
    def product_error(self) -> float:
        return gamma(self.terms) * self.longest * SAFE

    def exact(self, j: int) -> dict[int, Fraction]:
        """Entries of column j as stored."""
        rows = range(self.m) if self.mask is None else self.mask.rows[j].tolist()
        return {row: Fraction(value) for row, value in zip(rows, self.stored[j].tolist(), strict=True)}

    def off_unit(self) -> int | None:
        """The first column whose squared norm is off 1 by more than 2/10000, decided exactly."""
        with np.errstate(over="ignore", under="ignore"):
            squares = np.ldexp((self.values**2).sum(axis=1), 2 * self.exponent)
        doubtful = np.nonzero(~(np.abs(squares - 1) < 1.99e-4))[0]
        for j in doubtful.tolist():
            square = sum(value**2 for value in self.exact(j).values())
            if abs(square - 1) > Fraction(2, 10000):
                return j
        return None


def gamma(count: int) -> float:
    u = 2.0**-53
    return count * u / (1 - count * u)


def omp_holds(columns: Columns, support: list[int]) -> bool:
    """max over j outside S of ||G^{-1} b_j||_1 < 1, G = W_S^T W_S of full rank and b_j = W_S^T w_j."""
    k, each = len(support), columns.product_error
    b = columns.products(support)
    gram = b[support]
    try:
        inverse = np.linalg.inv(gram)
        y = np.linalg.solve(gram.T, b.T).T
    except np.linalg.LinAlgError:
        return _solved_exactly(columns, support, range(columns.n))
    if not (np.isfinite(inverse).all() and np.isfinite(y).all()):
        return _solved_exactly(columns, support, range(columns.n))
    # ||G^{-1}||_1 <= ||X||_1 / (1 - rho) with rho >= ||I - X G||_1
    size = np.abs(inverse).sum(axis=0).max()
    left = np.abs(np.eye(k) - inverse @ gram).sum(axis=0).max()
    spread = (np.abs(inverse) @ np.abs(gram)).sum(axis=0).max()
    rho = (left + gamma(k + 1) * (1 + spread) + size * k * each) * SAFE
    if not rho < 0.5:
        return _solved_exactly(columns, support, range(columns.n))
    # the solution is y_j + G^{-1} r_j, and r_j = b_j - G y_j is small
    residual = np.abs(b - y @ gram).sum(axis=1)
    rounding = gamma(k + 1) * (np.abs(b) + np.abs(y) @ np.abs(gram)).sum(axis=1)
    norm = np.abs(y).sum(axis=1)
    off = size / (1 - rho) * (residual + rounding + k * each * (1 + norm)) * SAFE + gamma(k + 2) * norm * SAFE
    norm[support], off[support] = 0, 0
    if (norm - off >= 1).any():
        return False
    doubtful = np.nonzero(~(norm + off < 1))[0]
    return doubtful.size == 0 or _solved_exactly(columns, support, doubtful.tolist())


def _solved_exactly(columns: Columns, support: list[int], doubtful: Any) -> bool:
    """The same for some columns, by elimination in integers (Bareiss): solutions are quotients by the determinant."""
    inside = [columns.exact(j) for j in support]
    if _eliminated([[_inner(a, c) for c in inside] for a in inside], []) is None:
        return False  # before any right side is formed
    outside = [columns.exact(j) for j in doubtful if j not in set(support)]
    gram = [[_inner(a, c) for c in inside] for a in inside]
    found = _eliminated(gram, [[_inner(a, c) for c in outside] for a in inside])
    assert found is not None
    determinant, solutions = found
    return all(sum(abs(row[place]) for row in solutions) < abs(determinant) for place in range(len(outside)))


def _eliminated(gram: list[list[Fraction]], rights: list[list[Fraction]]) -> tuple[int, list[list[int]]] | None:
    """The determinant of a square matrix and the solutions times it, in integers; None if it is singular."""
    k = len(gram)
    rights = rights or [[] for _ in range(k)]
    common = max((x.denominator for row in (*gram, *rights) for x in row), default=1)  # powers of two
    matrix = [[int(x * common) for x in (*row, *right)] for row, right in zip(gram, rights, strict=True)]
    previous = 1
    for step in range(k):
        pivot = next((r for r in range(step, k) if matrix[r][step]), None)
        if pivot is None:
            return None
        matrix[step], matrix[pivot] = matrix[pivot], matrix[step]
        head = matrix[step]
        for r in range(k):
            if r != step:
                factor = matrix[r][step]
                matrix[r] = [(head[step] * x - factor * h) // previous for x, h in zip(matrix[r], head, strict=True)]
        previous = head[step]
    # Gauss and Jordan without fractions: every row is now (determinant) x_r = right side
    return previous, [row[k:] for row in matrix]


def _inner(a: dict[int, Fraction], b: dict[int, Fraction]) -> Fraction:
    return sum((value * b[row] for row, value in a.items() if row in b), Fraction(0))


def range_holds(columns: Columns, support: list[int], dynamic_range: Fraction) -> bool:
    """q (N_i - t p_ij) > p sum over l in S but i of |p_il - t p_jl|, i in S, j outside, t = 1, -1; range p/q."""
    p, q = dynamic_range.numerator, dynamic_range.denominator
    b, k = columns.products(support), len(support)
    error = 0.0
    if columns.modulus is not None and columns.terms * 4 * k * max(p, q) < 2**53:
        b = np.rint(b / columns.modulus**2)  # sums of signs
    else:
        error = 2 * (q + p * k) * (columns.product_error + gamma(2 * k + 6) * columns.longest * 2) * SAFE
    gram = b[support]
    outside = np.ones(columns.n, bool)
    outside[support] = False
    meets = b.any(axis=1)
    alone = np.nonzero(outside & ~meets)[0][:1]  # of the columns that meet none of the support one stands for all
    places, doubtful = np.concatenate([np.nonzero(outside & meets)[0], alone]), set()
    others = b[places]
    for i in range(k):
        for sign in (1, -1):
            apart = np.abs(gram[i] - sign * others)
            apart[:, i] = 0
            slack = q * (gram[i, i] - sign * others[:, i]) - p * apart.sum(axis=1)
            if (slack < -error).any() or (error == 0 and (slack <= 0).any()):
                return False
            doubtful.update(places[slack <= error].tolist())
    return all(_range_exactly(columns, support, j, p, q) for j in doubtful)


def _range_exactly(columns: Columns, support: list[int], j: int, p: int, q: int) -> bool:
    inside, other = [columns.exact(l) for l in support], columns.exact(j)
    towards = [_inner(a, other) for a in inside]
    for i, own in enumerate(inside):
        row = [_inner(own, a) for a in inside]
        for sign in (1, -1):
            apart = sum(abs(x - sign * y) for l, (x, y) in enumerate(zip(row, towards, strict=True)) if l != i)
            if q * (row[i] - sign * towards[i]) <= p * apart:
                return False
    return True


def rows_hold(columns: Columns, support: list[int]) -> bool:
    """IDN-5: U_1 >= 1, and U_t > H_t wherever t columns outside share enough rows with those of the support."""
    assert columns.mask is not None
    rows, d, k = columns.mask.rows, columns.mask.d, len(support)
    met = np.bincount(rows[support].ravel(), minlength=columns.m)
    own = np.sort((met[rows[support]] == 1).sum(axis=1))
    shared = (met[rows] > 0).sum(axis=1)
    shared[support] = -1
    shared = np.sort(shared)[::-1][:k]
    if own[0] < 1:
        return False
    for t in range(1, k + 1):
        able = shared[:t][shared[:t] >= max(0, d - columns.overlap * (t - 1))]
        if len(able) == t and own[:t].sum() <= able.sum():
            return False
    return True
