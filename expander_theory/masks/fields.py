"""Finite fields, of which the algebraic masks are made: arithmetic on arrays of elements."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expander_theory.base import require, require_int

LARGEST_FIELD = 2**16


def prime_powers(q: int) -> list[int]:
    """The prime powers p^e whose product is q >= 1, by increasing p."""
    import flint

    return [int(p) ** e for p, e in sorted(flint.fmpz(q).factor())]


def is_prime_power(q: int) -> bool:
    """Whether there is a field of q elements (q up to 65536, the largest that is supported)."""
    return 2 <= q <= LARGEST_FIELD and len(prime_powers(q)) == 1


class FiniteField:
    """GF(q), q = p^e: polynomials in x over the integers mod p, modulo the Conway polynomial of degree e.

    An element is an integer from 0 to q - 1, whose digits in base p, the lowest first, are the coefficients of
    1, x, x^2, ... So 0 and 1 are themselves, and x is p where e > 1. Arrays of elements are int64.

    Args:
        q: the number of elements, a prime power up to 65536.

    Raises:
        InvalidArgument: there is no such field.
    """

    def __init__(self, q: int) -> None:
        import flint

        q = require_int("q", q)
        known = is_prime_power(q)
        require(known, "q", q, f"must be a prime power (2, 3, 4, 5, 7, 8, 9, 11, ...), at most {LARGEST_FIELD}")
        ((prime, e),) = flint.fmpz(q).factor()
        self.order, self.characteristic, self.degree = q, int(prime), e
        # FLINT knows the Conway polynomial of every field up to LARGEST_FIELD, and takes it.
        x = flint.fq_default_ctx(prime, e).gen()
        powers = [[int(digit) for digit in (x**i).to_list()] for i in range(2 * e - 1)]
        self._products = np.array([[powers[i + j] for j in range(e)] for i in range(e)], np.int64)
        """Of x^i and x^j, shape (e, e, e): the last axis are the digits."""
        self._places = self.characteristic ** np.arange(e)

    def add(self, a: ArrayLike, b: ArrayLike) -> NDArray[np.int64]:
        """The sums of the elements of two arrays, which are broadcast against each other."""
        a, b, p = np.asarray(a, np.int64), np.asarray(b, np.int64), self.characteristic
        if p == 2:
            return a ^ b
        if self.degree == 1:
            return (a + b) % p
        found = np.zeros(np.broadcast_shapes(a.shape, b.shape), np.int64)
        for place in self._places:
            found += (a // place + b // place) % p * place
        return found

    def negative(self, a: ArrayLike) -> NDArray[np.int64]:
        """The elements -a."""
        return self._elements(-self._digits(a))

    def multiply(self, a: ArrayLike, b: ArrayLike) -> NDArray[np.int64]:
        """The products of the elements of two arrays, which are broadcast against each other."""
        by = np.tensordot(self._digits(b), self._products, (-1, 1)) % self.characteristic  # multiplication is linear
        return self._elements(np.einsum("...i,...ik->...k", self._digits(a), by))

    def scale(self, a: ArrayLike, by: int) -> NDArray[np.int64]:
        """The products of an array's elements with one element."""
        a = np.asarray(a, np.int64)
        if a.size <= self.order:
            return self.multiply(a, by)
        return self.multiply(np.arange(self.order), by)[a]

    def matmul(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
        """The product of two matrices of elements, shapes (l, k) and (k, n)."""
        p = self.characteristic
        left = self._digits(a).reshape(len(a), -1).astype(np.float64)  # for BLAS: the sums are far below 2^53
        columns = self._digits(b)
        found = np.zeros((a.shape[0], b.shape[1]), np.int64)
        for digit, place in enumerate(self._places):
            right = np.einsum("knj,ij->kin", columns, self._products[:, :, digit]) % p
            found += (left @ right.reshape(left.shape[1], -1)).astype(np.int64) % p * place
        return found

    def _digits(self, a: ArrayLike) -> NDArray[np.int64]:
        return np.asarray(a, np.int64)[..., None] // self._places % self.characteristic

    def _elements(self, digits: NDArray[np.int64]) -> NDArray[np.int64]:
        return digits % self.characteristic @ self._places


@lru_cache(maxsize=16)
def field(q: int) -> FiniteField:
    """The field of q elements; see :class:`FiniteField`."""
    return FiniteField(q)
