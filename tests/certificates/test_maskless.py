"""Certificates of dense, block and brought matrices: exact facts, and no field that can be altered."""

import copy
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse
from support.cases.certificate_cases import ks, prove
from support.cases.exact_cases import columns_of, inner, tied_matrices, unit
from support.cases.hand_certificates import refusal, rehashed, with_value

from expander_theory import DenseDictionary, gaussian_dictionary, uniform_mask
from expander_theory.certificates import check_certificate
from expander_theory.dictionaries import BlockDictionary, as_dictionary, dense_gaussian_dictionary

LINES = ("STAB-3", "OMP-2", "OMP-3", "OMP-7u", "TOPK-1", "L1-ERC")
TINY, HUGE = 5e-324, 1e300


def facts(columns):
    """Norms and sums of FORMAT.md, from its words."""
    norms = [inner(w, w) for w in columns]
    least, largest = min(norms), max(norms)
    moduli = [
        sorted((abs(inner(w, v)) for l, v in enumerate(columns) if l != j), reverse=True) for j, w in enumerate(columns)
    ]
    sums, attained = [Fraction(0)], [None]
    while sums[-1] < least and len(sums) < len(columns):
        totals = [sum(row[: len(sums)]) for row in moduli]
        sums.append(max(totals))
        attained.append(totals.index(max(totals)))
    return {
        "norms": {
            "least": str(least),
            "least_column": norms.index(least),
            "largest": str(largest),
            "largest_column": norms.index(largest),
        },
        "gram": {"sums": [str(total) for total in sums], "columns": attained},
    }


def largest_ks(columns, dynamic_range):
    """The largest k <= n of each line's condition, from its words."""
    n, norms = len(columns), [inner(w, w) for w in columns]
    least = min(norms)
    moduli = [sorted((abs(inner(w, v)) for v in columns if v is not w), reverse=True) for w in columns]

    def a(k):
        return max(sum(row[:k], Fraction(0)) for row in moduli)

    def threshold(k):
        return Fraction(16, (k + 4) ** 2) if k < 4 else Fraction(1, k)

    conditions = {
        "STAB-3": lambda k: a(2 * k - 1) < least,
        "OMP-2": lambda k: (2 * k - 1) * a(1) < least,
        "OMP-3": lambda k: a(k) + a(k - 1) < least,
        "OMP-7u": lambda k: (a(k) / least) ** 2 < threshold(k),
        "TOPK-1": lambda k: dynamic_range * (a(k) + a(k - 1)) < least,
        "L1-ERC": lambda k: a(k) + a(k - 1) < least,
    }
    if any(abs(square - 1) > Fraction(2, 10000) for square in norms):
        conditions |= dict.fromkeys(("OMP-2", "OMP-3", "OMP-7u", "TOPK-1"), lambda k: False)
    return {line: max((k for k in range(1, n + 1) if holds(k)), default=0) for line, holds in conditions.items()}


def confirm(given, dynamic_range=Fraction(1)):
    """Facts and claims are the oracle's, and the checker agrees."""
    certificate = prove(given, dynamic_range=dynamic_range)
    columns = columns_of(as_dictionary(given))
    assert certificate["facts"] == facts(columns)
    assert ks(certificate) == largest_ks(columns, dynamic_range)
    checked = check_certificate(certificate, given, progress=False)
    assert {line.theorem: line.k for line in checked} == ks(certificate)
    return certificate


@pytest.mark.parametrize("seed", range(3))
def test_facts_and_claims_are_those_of_the_page_however_much_is_equal(seed):
    for i, matrix in enumerate(tied_matrices(seed, 60)):
        confirm(matrix)
        confirm(unit(matrix).astype(np.float32 if i % 2 else np.float64), Fraction(3, 2))


@pytest.mark.parametrize("scale", [1e150, 1e-150, 2.0**-900, 2.0**500])
def test_scales_change_nothing_but_the_scale(scale):
    for matrix in tied_matrices(7, 24):
        scaled = matrix * scale
        certificate = confirm(scaled)
        assert ks(certificate)["OMP-2"] == 0
        if np.log2(scale) % 1 == 0:
            plain = prove(matrix)["facts"]["gram"]["sums"]
            sums = certificate["facts"]["gram"]["sums"]
            assert list(map(Fraction, sums)) == [Fraction(a) * Fraction(scale) ** 2 for a in plain]


def test_columns_of_one_dictionary_may_have_very_different_norms():
    rng = np.random.default_rng(0)
    for _ in range(20):
        confirm(rng.standard_normal((4, 5)) * 10.0 ** rng.integers(-60, 60, 5))
    confirm(np.array([[TINY, 3 * TINY], [0, TINY]]))  # subnormals alone


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (np.ones((1, 1)), dict.fromkeys(LINES, 1)),
        (np.array([[0.6], [0.8]]), dict.fromkeys(LINES, 1)),
        (np.eye(5, 3), dict.fromkeys(LINES, 3)),
        (np.eye(4)[:, [0, 1, 2, 1]], dict.fromkeys(LINES, 0)),
        (np.eye(4)[:, [0, 1, 2, 1]] * [1, 1, 1, -1], dict.fromkeys(LINES, 0)),
        (3 * np.eye(4), {"STAB-3": 4, "L1-ERC": 4} | dict.fromkeys(LINES[1:5], 0)),
    ],
    ids=["one", "one-column", "fewer-than-rows", "copy", "opposite", "not-unit"],
)
def test_small_cases_by_hand(matrix, expected):
    certificate = confirm(matrix)
    assert ks(certificate) == expected
    assert [claim["theorem"] for claim in certificate["claims"]] == list(LINES)


def test_a_refusal_names_the_first_column_off_unit_norm():
    matrix = np.eye(4)
    matrix[1, 1], matrix[2, 2] = 1.00009, 0.9998
    claims = {claim["theorem"]: claim["refused"] for claim in confirm(matrix)["claims"]}
    assert claims["OMP-3"] == claims["TOPK-1"] == "needs unit columns: column 2 has squared norm 0.9996"
    assert claims["STAB-3"] is claims["L1-ERC"] is None


def test_sparse_matrices_have_a_mask_where_columns_are_at_most_half_full():
    rng = np.random.default_rng(3)
    for _ in range(15):
        dense = np.where(rng.random((9, 7)) < 0.25, rng.standard_normal((9, 7)), 0)
        dense[0, ~dense.any(axis=0)] = 1
        matrix = scipy.sparse.csr_array(dense)
        certificate = prove(matrix)
        degrees = (dense != 0).sum(axis=0)
        assert certificate["version"] == (2 if 2 * degrees.max() <= 9 else 3)
        check_certificate(certificate, matrix, progress=False)
        other = facts(columns_of(DenseDictionary(dense.T)))
        assert certificate["facts"]["norms"] == other["norms"]
        assert certificate["facts"]["gram"] == other["gram"]
        if certificate["version"] == 2 and (degrees < degrees.max()).any():
            assert certificate["facts"]["zeros"]["count"] == int((degrees.max() - degrees).sum())
            assert certificate["claims"][0]["refused"].startswith("needs a full mask")


def blocks():
    dense, masked = dense_gaussian_dictionary(8, 3, seed=0), gaussian_dictionary(uniform_mask(8, 5, 2, seed=0), seed=0)
    return BlockDictionary(dense, masked)


def test_blocks_count_as_dense_columns():
    mixed = blocks()
    certificate, dense = confirm(mixed), confirm(mixed.densified())
    assert (certificate["dictionary"]["kind"], dense["dictionary"]["kind"]) == ("blocks", "dense")
    assert (certificate["facts"], certificate["claims"]) == (dense["facts"], dense["claims"])
    assert "dictionary.sha256" in refusal(certificate, mixed.densified())
    assert "dictionary.kind: the certificate says 'dense', the true value is 'blocks'" in refusal(
        rehashed(with_value(certificate, ("dictionary", "kind"), "dense")), mixed
    )


def leaves(value, path=()):
    if not isinstance(value, dict | list):
        yield path, value
        return
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(item, (*path, name))


def spelled(path):
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in path).lstrip(".")


def others(path, value):
    if value is None:
        return [0 if path[-2:-1] == ("columns",) else {"left": "0", "right": "1", "slack": "1"}]
    if isinstance(value, int):
        return [value + 1, value - 1]
    digit = next((i for i, c in enumerate(value) if c.isdigit()), None)
    changed = [] if digit is None else [value[:digit] + str((int(value[digit]) + 1) % 10) + value[digit + 1 :]]
    return [*changed, value + "x", f" {value}"]


@pytest.mark.parametrize("matrix", [np.array([[1.0, 0.25, 0.5], [0, 0.9, 0.75]]), unit(np.eye(4, 5) + 0.1)])
def test_no_leaf_can_be_altered_even_with_a_new_hash(matrix):
    certificate, tried = prove(matrix, dynamic_range=Fraction(2)), 0
    for path, value in leaves(certificate):
        if path == ("sha256",) or (path == ("dynamic_range",) and certificate["claims"][4]["refused"]):
            continue  # the range is a free choice where no claim depends on it
        for other in others(path, value):
            altered = with_value(certificate, path, other)
            refusal(altered, matrix)
            text = refusal(rehashed(altered), matrix)
            if path[0] not in ("format", "version", "dynamic_range") and path[-1] != "refused":
                assert spelled(path) in text, (path, other, text)
            tried += 1
    assert tried > 60


def test_no_entry_can_be_left_out_or_added():
    matrix = unit(np.eye(4, 5) + 0.1)
    certificate = prove(matrix)
    for path in (("facts", "gram", "sums"), ("facts", "gram", "columns"), ("claims",)):
        value = certificate
        for name in path:
            value = value[name]
        for other in (value[:-1], [*value, value[-1]], value[::-1]):
            assert path[-1] in refusal(rehashed(with_value(certificate, path, other)), matrix)
    for path in (("facts", "zeros"), ("dictionary", "d"), ("facts", "overlap")):
        assert "is no field" in refusal(rehashed(with_value(certificate, path, 1)), matrix)
    altered = copy.deepcopy(certificate)
    del altered["facts"]["norms"]["least"]
    assert "facts.norms.least: is missing" in refusal(rehashed(altered), matrix)


def test_another_matrix_is_refused():
    matrix = unit(np.eye(4, 5) + 0.1)
    certificate = prove(matrix)
    nearly = matrix.copy()
    nearly[0, 0] = np.nextafter(nearly[0, 0], 0)
    for other in (nearly, matrix[:, ::-1], matrix.astype(np.float32), matrix[:, :4], matrix[:3]):
        assert "dictionary.sha256" in refusal(certificate, other)
    masked = prove(scipy.sparse.csc_array(np.eye(6)))
    moved = with_value(masked, ("dictionary", "sha256"), certificate["dictionary"]["sha256"])
    assert "version: is 2" in refusal(rehashed(moved), matrix)


@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[1.0, 1.0], [TINY, 0.0]]),
        np.array([[1.0, 1.0], [TINY, TINY]]),
        np.array([[HUGE, 0.0], [0.0, 1 / HUGE]]),
        1e200 * np.eye(2),
        HUGE * np.eye(3),
    ],
    ids=["subnormal", "equal-subnormals", "huge-and-tiny", "1e200", "1e300"],
)
def test_values_at_the_ends_of_the_floats(matrix):
    confirm(matrix)


def test_a_forged_certificate_of_equal_tiny_columns_is_refused():
    """Columns 1 and 2 are equal; scaled by the huge one they vanish, and must not count as orthogonal."""
    w = DenseDictionary(np.array([[1e150, 0], [0, 1e-180], [0, 1e-180]]))
    true = prove(w)
    least = str(Fraction(1e-180) ** 2)
    norms = true["facts"]["norms"] | {"least": least, "least_column": 1}
    facts = {"norms": norms, "gram": {"sums": ["0", "0", "0"], "columns": [None, 0, 0]}}
    proved = {"k": 3, "at_k": {"left": "0", "right": least, "slack": least}, "at_next": None}
    claims = [claim if claim["refused"] else claim | proved for claim in true["claims"]]
    assert "facts.gram" in refusal(rehashed(true | {"facts": facts, "claims": claims}), w)
