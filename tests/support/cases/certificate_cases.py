"""Dictionaries to certify, and what the tests of certificates count on them."""

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st
from support.strategies import masks

from expander_theory import Dictionary
from expander_theory.certificates.prove import certify


def prove(dictionary, **options):
    return certify(dictionary, progress=False, **options)


def ks(certificate):
    return {claim["theorem"]: claim["k"] for claim in certificate["claims"]}


@st.composite
def dictionaries(draw, **sizes):
    """Tiny dictionaries of every kind of value: signs, small integers, zeros, floats of wild exponents."""
    mask = draw(masks(**sizes))
    signed = st.sampled_from([-1.0, 1.0])
    wild = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True)
    huge = st.floats(-1e150, 1e150) | st.floats(-1e-150, 1e-150)
    kind = draw(st.sampled_from(["signs", "ones", "integers", "wild", "huge"]))
    entry = {"signs": signed, "ones": st.just(0.3), "integers": st.integers(-3, 3), "wild": wild, "huge": huge}[kind]
    column = st.lists(entry, min_size=mask.d, max_size=mask.d).filter(any)
    values = np.array(draw(st.lists(column, min_size=mask.n, max_size=mask.n)), float)
    return Dictionary(mask, values.astype(np.float32) if kind == "wild" else values)


def sparse_columns(dictionary):
    rows, values = dictionary.mask.rows.tolist(), dictionary.values.tolist()
    return [dict(zip(r, map(Fraction, v), strict=True)) for r, v in zip(rows, values, strict=True)]


def inner(u, v):
    return sum((u[i] * v[i] for i in u.keys() & v.keys()), Fraction(0))
