"""Finite fields against polynomial arithmetic done by hand; masks are made of the fields of which they always were."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from expander_theory import InvalidArgument, polynomial_mask
from expander_theory.masks.fields import FiniteField, field, is_prime_power, prime_powers

# Conway polynomials, lowest coefficient first (Lübeck's table).
CONWAY = {
    4: (1, 1, 1), 8: (1, 1, 0, 1), 16: (1, 1, 0, 0, 1), 32: (1, 0, 1, 0, 0, 1), 64: (1, 1, 0, 1, 1, 0, 1),
    9: (2, 2, 1), 27: (1, 2, 0, 1), 81: (2, 0, 0, 2, 1), 25: (2, 4, 1), 125: (3, 3, 0, 1), 49: (3, 6, 1),
    121: (2, 7, 1), 256: (1, 0, 1, 1, 1, 0, 0, 0, 1), 243: (1, 2, 0, 0, 0, 1),
}  # fmt: skip
PRIMES = (2, 3, 5, 7, 11, 13, 61, 127)


def prime_of(q):
    return next(p for p in range(2, q + 1) if q % p == 0)


def digits(a, p):
    found = []
    while a:
        found.append(a % p)
        a //= p
    return found


def add(a, b, q):
    p = prime_of(q)
    pairs = itertools.zip_longest(digits(a, p), digits(b, p), fillvalue=0)
    return sum((x + y) % p * p**i for i, (x, y) in enumerate(pairs))


def multiply(a, b, q):
    p = prime_of(q)
    product = [0] * 40
    for (i, x), (j, y) in itertools.product(enumerate(digits(a, p)), enumerate(digits(b, p))):
        product[i + j] += x * y
    modulus = CONWAY.get(q, (0, 1))
    e = len(modulus) - 1
    for top in range(39, e - 1, -1):
        factor = product[top]
        for i, coefficient in enumerate(modulus):
            product[top - e + i] -= factor * coefficient
    return sum(c % p * p**i for i, c in enumerate(product[:e]))


@pytest.mark.parametrize("q", sorted((*CONWAY, *PRIMES)))
@given(data=st.data())
def test_arithmetic_is_that_of_polynomials(q, data):
    def product(a, b):
        return a * b % q if q in PRIMES else multiply(a, b, q)

    a, b = (data.draw(st.lists(st.integers(0, q - 1), min_size=4, max_size=4)) for _ in range(2))
    found = field(q)
    assert found.add(a, b).tolist() == [add(x, y, q) for x, y in zip(a, b, strict=True)]
    assert found.multiply(a, b).tolist() == [product(x, y) for x, y in zip(a, b, strict=True)]
    assert found.scale(a * q, b[0]).tolist() == [product(x, b[0]) for x in a] * q
    assert found.multiply(np.reshape(a, (4, 1)), b).tolist() == [[product(x, y) for y in b] for x in a]
    assert not found.add(a, found.negative(a)).any()
    left, right = np.reshape(a, (2, 2)), np.reshape(b, (2, 2))
    expected = [[add(product(x[0], y[0]), product(x[1], y[1]), q) for y in right.T.tolist()] for x in left.tolist()]
    assert found.matmul(left, right).tolist() == expected


@pytest.mark.parametrize("q", [2, 3, 4, 5, 7, 8, 9, 16, 25, 27, 49, 64])
def test_every_element_but_zero_has_an_inverse(q):
    x = np.arange(q)
    products = field(q).multiply(x[:, None], x)
    assert ((products == 1).sum(axis=1) == (x > 0)).all()
    assert (np.sort(products[1:], axis=1) == x).all()


@pytest.mark.parametrize("p", [p for p in range(2, 256) if prime_of(p) == p])
def test_x_generates_every_field(p):
    """As with a Conway polynomial; where FLINT knows none, it takes an irreducible one at random."""
    import flint

    for e in range(2, 17):
        if p**e <= 2**16:
            x = flint.fq_default_ctx(p, e).gen()
            for prime, _ in flint.fmpz(p**e - 1).factor():
                assert not (x ** ((p**e - 1) // int(prime))).is_one()


def test_prime_powers_by_trial_division():
    def smooth(q):
        p = prime_of(q)
        while q % p == 0:
            q //= p
        return q == 1

    assert [q for q in range(-3, 700) if is_prime_power(q)] == [q for q in range(2, 700) if smooth(q)]
    assert is_prime_power(2**16)
    assert not is_prime_power(2**17)
    assert prime_powers(360) == [8, 9, 5]
    assert prime_powers(1) == []


@pytest.mark.parametrize("q", [0, 1, 6, 100, 2**17, 2.0])
def test_there_is_no_such_field(q):
    with pytest.raises(InvalidArgument):
        FiniteField(q)


def test_polynomial_masks_are_what_they_were():
    """Hashes of all polynomial masks of prime powers up to 64, of three coefficients: stored results name them."""
    hashes = [
        polynomial_mask(q, min(q + 1, 9), r=3, n=min(q**3, 20000)).sha256 for q in range(2, 65) if is_prime_power(q)
    ]
    assert (
        hashlib.sha256("".join(hashes).encode()).hexdigest()
        == "fa3a8963c339bec14a9a6c825011727dfd5b818e0ec2cf5836a63e1412ab1839"
    )
