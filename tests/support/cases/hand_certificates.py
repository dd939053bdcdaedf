"""Certificates written by hand, claim by claim, for the tests of the checker."""

import copy
import hashlib
import json

import numpy as np
import pytest

from expander_theory import Dictionary, Mask
from expander_theory.certificates.check import InvalidCertificate, check_certificate

UNIQUE = "every k-sparse code is the only k-sparse code of its activation"
OMP = "OMP recovers every k-sparse code, whatever its coefficients"
TOPK = "the tied TopK encoder finds support and signs of every k-sparse code of this dynamic range"
L1 = "l1 minimisation weighted by ||w_j||_1 recovers every k-sparse code"
PLAIN_L1 = "l1 minimisation recovers every k-sparse code"
AGREEMENT = (
    "for almost all values on this mask and almost all codes, agreement of two rows decodes every k-sparse support"
)
SUMS = "l0 decoding recovers every k-sparse code whose subset sums are distinct"
MEDIAN = "the median encoder returns every k-sparse code exactly"
TABLE = [
    *[(theorem, "identifiability", UNIQUE) for theorem in ("IDN-1", "EXP-10", "IDN-1z", "STAB-3")],
    *[(theorem, "OMP", OMP) for theorem in ("OMP-2", "OMP-3")],
    *[
        (theorem, "OMP", f"{OMP}, once columns are scaled to exactly unit norm")
        for theorem in ("OMP-5", "OMP-7u", "PAPER-OMP")
    ],
    ("TOPK-1", "TopK encoder", TOPK),
    ("NSP-2", "l1", L1),
    ("L1-ERC", "l1", PLAIN_L1),
    ("L0-1", "l0 decoding", AGREEMENT),
    ("L0-2", "l0 decoding", SUMS),
    ("MED-1 overlap", "l0 decoding", MEDIAN),
    ("MED-1 expansion", "l0 decoding", MEDIAN),
]
ZERO, EQUAL = "needs a full mask: column 1 has a zero entry", "needs equal positive values"


def dictionary_of(m, rows, values):
    return Dictionary(Mask(m, np.array(rows)), np.array(values, dtype=np.float64))


def rehashed(certificate):
    text = json.dumps(
        {name: value for name, value in certificate.items() if name != "sha256"}, sort_keys=True, separators=(",", ":")
    )
    return certificate | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def certificate_of(dictionary, dynamic_range, facts, claims):
    """The literal facts and claims in the frame of the format. A claim is (k, at k, at k + 1) or its refusal."""

    def sides(text):
        return dict(zip(("left", "right", "slack"), text.split(), strict=True)) if text else None

    lines = []
    for (theorem, goal, states), claim in zip(TABLE, claims, strict=True):
        k, at_k, at_next = (0, None, None) if isinstance(claim, str) else claim
        lines.append({"theorem": theorem, "goal": goal, "states": states, "k": k, "at_k": sides(at_k)}
                     | {"at_next": sides(at_next), "refused": claim if isinstance(claim, str) else None})  # fmt: skip
    size = {"m": dictionary.m, "n": dictionary.n, "d": dictionary.d}
    return rehashed({
        "format": "expander-certificate", "version": 2, "dictionary": {"sha256": dictionary.sha256, **size},
        "dynamic_range": dynamic_range, "facts": facts, "claims": lines,
    })  # fmt: skip


def loss(size, value, by, witness=None, origin=None):
    return {"size": size, "loss": value, "by": by, "from": origin, "witness": witness}


def path_of_three():
    """Column 0 meets column 1 in row 3, column 1 meets column 2 in row 6; values +-1/2, so N_j = 1, |p| = 1/4.

    E(2) = 1/8 (one collision of 8 edges), E(3) = max(1/8, 2/12) = 1/6 = E(4) = ...; A_1 = 1/4, A_2 = 1/2 = A_3 = ...
    """
    rows = [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    dictionary = dictionary_of(10, rows, [[0.5, 0.5, 0.5, 0.5], [-0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]])
    facts = {
        "norms": {"least": "1", "least_column": 0, "largest": "1", "largest_column": 0},
        "zeros": {"count": 0, "first_column": None},
        "flatness": {"C_squared": "1", "C_column": 0, "beta": "1", "beta_column": 0},
        "binary": False,
        "overlap": {"largest": 1, "pair": [0, 1]},
        "triangle_free": True,
        # t = 3: (b) 12 - 4 - 3 - 2 = 3, (c) 12 - ceil(48/6) = 4, (d) (1 + 2 + 1)/2 = 2
        "losses": [loss(1, 0, "single"), loss(2, 1, "overlap", [0, 1]), loss(3, 2, "overlap", [0, 1, 2])],
        "gram": {"sums": ["0", "1/4", "1/2"], "columns": [None, 0, 1]},
    }
    claims = [
        (3, "1/6 1/2 1/3", None),
        (3, "6 8 2", None),  # D0 = 2d = 8
        (3, "1/3 1 2/3", None),
        (3, "1/2 1 1/2", None),  # A_5 = A_2
        (2, "3/4 1 1/4", "5/4 1 -1/4"),
        (2, "3/4 1 1/4", "1 1 0"),
        (2, "3/4 1 1/4", "7/6 1 -1/6"),  # 3/6 + 2/8, then 4/6 + 3/6
        (3, "1/4 16/49 15/196", None),
        (2, "5/6 1 1/6", "7/6 1 -1/6"),
        (1, "1/2 1 1/2", "3/2 1 -1/2"),  # range 2
        (3, "1/6 1/4 1/12", None),
        (2, "3/4 1 1/4", "1 1 0"),
        (3, "1/6 3/8 5/24", None),
        EQUAL,
        (1, "1 2 1", "2 2 0"),
        (1, "1/4 1/2 1/4", "1/2 1/2 0"),
    ]
    return dictionary, certificate_of(dictionary, "2", facts, claims)


def uneven():
    """N = 6, 2, 11; p_01 = 2 - 1 = 1, p_02 = 1, p_12 = 0; a zero entry, no unit columns, overlap 2.

    E(2) = 2/6; the transfer rule gives U_3 = floor(2 * 3 * 2 / 2) = 6, E(3) = 6/9.
    """
    dictionary = dictionary_of(5, [[0, 1, 2], [0, 1, 3], [2, 3, 4]], [[2, 1, 1], [1, -1, 0], [1, 1, 3]])
    facts = {
        "norms": {"least": "2", "least_column": 1, "largest": "11", "largest_column": 2},
        "zeros": {"count": 1, "first_column": 1},
        "flatness": {"C_squared": "27/11", "C_column": 2, "beta": "9/5", "beta_column": 2},
        "binary": False,
        "overlap": {"largest": 2, "pair": [0, 1]},
        "triangle_free": None,
        "losses": [loss(1, 0, "single", [2]), loss(2, 2, "overlap", [0, 1]), loss(3, 6, "transfer", None, 2)],
        "gram": {"sums": ["0", "1", "2"], "columns": [None, 0, 0]},
    }
    unit = "needs unit columns: column 0 has squared norm 6"
    claims = [
        ZERO,
        ZERO,
        (0, None, "18/11 1 -7/11"),  # 2 * 27/11 * 1/3
        (1, "1 2 1", "2 2 0"),
        *[unit] * 6,
        (0, None, "3/5 1/4 -7/20"),
        (1, "1 2 1", "3 2 -1"),
        ZERO,
        EQUAL,
        ZERO,
        ZERO,
    ]
    return dictionary, certificate_of(dictionary, "3/2", facts, claims)


def cycle_of_four():
    """Columns 01, 12, 23, 03 and a far one; all values 1. The overlap rules give 3 at t = 3, a search gives 2.

    E = 0, 1/4, 2/6, 4/8, where it ends before n = 5; A_1 = 1, A_2 = 2 = N_min.
    """
    dictionary = dictionary_of(6, [[0, 1], [1, 2], [2, 3], [0, 3], [4, 5]], np.ones((5, 2)))
    facts = {
        "norms": {"least": "2", "least_column": 0, "largest": "2", "largest_column": 0},
        "zeros": {"count": 0, "first_column": None},
        "flatness": {"C_squared": "1", "C_column": 0, "beta": "1", "beta_column": 0},
        "binary": True,
        "overlap": {"largest": 1, "pair": [0, 1]},
        "triangle_free": True,
        "losses": [
            loss(1, 0, "single"), loss(2, 1, "search", [2, 3]), loss(3, 2, "search", [0, 1, 2]),
            loss(4, 4, "overlap", [0, 1, 2, 3]),
        ],
        "gram": {"sums": ["0", "1", "2"], "columns": [None, 0, 0]},
    }  # fmt: skip
    claims = [
        (1, "1/4 1/2 1/4", "1/2 1/2 0"),
        (1, "2 4 2", "4 4 0"),
        (1, "1/2 1 1/2", "1 1 0"),
        (1, "1 2 1", "2 2 0"),
        *["needs unit columns: column 0 has squared norm 2"] * 6,
        (0, None, "1/4 1/4 0"),
        (1, "1 2 1", "3 2 -1"),
        (1, "0 1/4 1/4", "1/4 1/4 0"),
        (1, "1 2 1", "1 1 0"),
        (0, None, "1 1 0"),
        (0, None, "1/2 1/2 0"),
    ]
    return dictionary, certificate_of(dictionary, "1", facts, claims)


def two_on_the_same_rows():
    """(1, 1) and (1, -1): orthogonal, and yet overlap 2 leaves expansion nothing: E(2) = 2/4."""
    dictionary = dictionary_of(2, [[0, 1], [0, 1]], [[1, 1], [1, -1]])
    facts = {
        "norms": {"least": "2", "least_column": 0, "largest": "2", "largest_column": 0},
        "zeros": {"count": 0, "first_column": None},
        "flatness": {"C_squared": "1", "C_column": 0, "beta": "1", "beta_column": 0},
        "binary": False,
        "overlap": {"largest": 2, "pair": [0, 1]},
        "triangle_free": None,
        "losses": [loss(1, 0, "single"), loss(2, 2, "subset")],
        "gram": {"sums": ["0", "0"], "columns": [None, 0]},
    }
    claims = [
        (0, None, "1/2 1/2 0"),
        "needs overlap at most 1: columns 0 and 1 share 2 rows",
        (0, None, "1 1 0"),
        (2, "0 2 2", None),
        *["needs unit columns: column 0 has squared norm 2"] * 6,
        (0, None, "1/2 1/4 -1/4"),
        (2, "0 2 2", None),
        (1, "0 1/4 1/4", "1/2 1/4 -1/4"),
        EQUAL,
        (0, None, "2 1 -1"),
        (0, None, "1 1/2 -1/2"),
    ]
    return dictionary, certificate_of(dictionary, "7/3", facts, claims)


def one_column():
    """n = 1: no pair, no sum, nothing to confuse; unit. E = A = 0 for all sizes, D0 = n + 1 = 2."""
    dictionary = dictionary_of(4, [[0, 1, 2, 3]], [[0.5, 0.5, 0.5, 0.5]])
    facts = {
        "norms": {"least": "1", "least_column": 0, "largest": "1", "largest_column": 0},
        "zeros": {"count": 0, "first_column": None},
        "flatness": {"C_squared": "1", "C_column": 0, "beta": "1", "beta_column": 0},
        "binary": True,
        "overlap": {"largest": 0, "pair": None},
        "triangle_free": True,
        "losses": [loss(1, 0, "single")],
        "gram": {"sums": ["0"], "columns": [None]},
    }
    claims = [(1, "0 1/2 1/2", None), (0, None, "2 2 0"), *[(1, "0 1 1", None)] * 5, (1, "0 16/25 16/25", None),
              *[(1, "0 1 1", None)] * 2, (1, "0 1/4 1/4", None), (1, "0 1 1", None), (1, "0 3/8 3/8", None),
              (1, "0 4 4", None), (1, "0 2 2", None), (1, "0 1/2 1/2", None)]  # fmt: skip
    return dictionary, certificate_of(dictionary, "1", facts, claims)


CASES = [path_of_three, uneven, cycle_of_four, two_on_the_same_rows, one_column]


def refusal(certificate, dictionary):
    with pytest.raises(InvalidCertificate) as refused:
        check_certificate(certificate, dictionary, progress=False)
    return str(refused.value)


def with_value(certificate, path, value):
    altered = copy.deepcopy(certificate)
    inside = altered
    for name in path[:-1]:
        inside = inside[name]
    inside[path[-1]] = value
    return altered
