"""The checker on certificates made by hand, on every way to alter them, and its parts against brute force.

Nothing here comes from the prover: the literals below are worked out on paper from certificates/FORMAT.md.
"""

import contextlib
import copy
import hashlib
import itertools
import json
from fractions import Fraction
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from hypothesis import given, strategies as st
from support import oracles
from support.strategies import masks

from expander_theory import Dictionary, Mask, cli, polynomial_mask, sign_dictionary
from expander_theory.base.errors import InvalidArgument, InvalidFile
from expander_theory.certificates._check import extend as _check_extend, search as _check_search
from expander_theory.certificates._check.claims import CLAIMS, Known, evaluate
from expander_theory.certificates._check.facts import gram_sums, scaled, value_facts
from expander_theory.certificates._check.losses import overlap_bound
from expander_theory.certificates._check.overlaps import has_triangle, overlap_counts, sums_of_largest
from expander_theory.certificates._check.search import TooLong, find_loss
from expander_theory.certificates.check import InvalidCertificate, _refusals, check_certificate
from expander_theory.certificates.prove import certify
from expander_theory.dictionaries.dictionary import DenseDictionary

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
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)


def refusal(certificate, dictionary):
    with pytest.raises(InvalidCertificate) as refused:
        check_certificate(certificate, dictionary, progress=False)
    return str(refused.value)


def places(value, path=()):
    """The path of every value in a JSON document, inner ones after outer ones."""
    yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield from places(item, (*path, name))


def with_value(certificate, path, value):
    altered = copy.deepcopy(certificate)
    inside = altered
    for name in path[:-1]:
        inside = inside[name]
    inside[path[-1]] = value
    return altered


def spelled(path):
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in path).lstrip(".")


def alterations(path, value):
    """Other values of the same JSON type for a leaf, each of which makes the certificate false."""
    sides = {"left": "0", "right": "1", "slack": "1"}
    if value is None:
        yield {"witness": [], "at_k": sides, "at_next": sides, "refused": "x", "triangle_free": True,
               "pair": [0, 0]}.get(path[-1], 0)  # fmt: skip
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (99, -1) if "witness" in path else (value + 1, value - 1)  # another witness may be as good
    elif isinstance(value, str):
        digits = [i for i, c in enumerate(value) if c.isdigit()]
        for i in digits[:3]:
            yield value[:i] + str((int(value[i]) + 1) % 10) + value[i + 1 :]
        yield from (value + "x", value[:-1], f"{value}/1", f" {value}")


@cases
def test_a_true_certificate_is_accepted_and_says_what_it_proves(case, tmp_path):
    dictionary, certificate = case()
    checked = check_certificate(certificate, dictionary, progress=False)
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(certificate, indent=1))
    assert check_certificate(path, dictionary, progress=False) == checked
    for line, claim in zip(checked, certificate["claims"], strict=True):
        assert (line.theorem, line.goal, line.k, line.refused) == tuple(
            claim[name] for name in ("theorem", "goal", "k", "refused")
        )
        assert line.slack == (Fraction(claim["at_k"]["slack"]) if claim["at_k"] else None)


@cases
def test_no_leaf_can_be_altered_even_with_a_new_hash(case):
    dictionary, certificate = case()
    tried = 0
    for path, value in places(certificate):
        if isinstance(value, dict | list) or path == ("sha256",):
            continue
        if path == ("dynamic_range",) and certificate["claims"][9]["refused"]:
            continue  # a free choice of the prover where no claim depends on it
        if path == ("dynamic_range",) and case is one_column:
            continue  # 0 < 1 at any range
        for other in alterations(path, value):
            altered = with_value(certificate, path, other)
            assert "altered" in refusal(altered, dictionary) or path[0] in ("format", "version"), (path, other)
            text = refusal(rehashed(altered), dictionary)
            elsewhere = ("format", "version", "dynamic_range")  # these, and losses, show in other fields
            if "losses" not in path and path[0] not in elsewhere:
                assert spelled(path) in text, (path, other, text)
            tried += 1
    assert tried > 200


@cases
def test_no_field_or_entry_can_be_left_out_added_or_of_another_type(case):
    dictionary, certificate = case()
    for path, value in places(certificate):
        if isinstance(value, dict):
            changed = [{n: v for n, v in value.items() if n != name} for name in value] + [value | {"extra": 1}]
        elif isinstance(value, list):
            changed = [value[:-1], [*value, value[-1]], {}, 1.5, [1.5]]
        else:
            changed = [1.5, {}, [1.5], [[]], *([float(value), str(value), bool(value)] if type(value) is int else [])]
            changed += [int(value), str(value)] if isinstance(value, bool) else [1] if isinstance(value, str) else []
        for other in changed:
            altered = with_value(certificate, path, other) if path else other
            refusal(rehashed(altered) if "sha256" in altered and path != ("sha256",) else altered, dictionary)


def test_missing_extra_and_mistyped_fields_are_named():
    dictionary, certificate = cycle_of_four()
    altered = copy.deepcopy(certificate)
    del altered["facts"]["losses"][2]["by"]
    assert "facts.losses[2].by: is missing" in refusal(altered, dictionary)
    assert "claims[3].k: is True, must be an integer" in refusal(
        with_value(certificate, ("claims", 3, "k"), True), dictionary
    )
    assert "facts.more: is no field" in refusal(with_value(certificate, ("facts", "more"), 1), dictionary)
    text = refusal(rehashed(with_value(certificate, ("claims", 0, "at_k", "left"), "1/5")), dictionary)
    assert text == "certificate: claims[0].at_k.left: the certificate says '1/5', the true value is '1/4'"


def test_files_that_are_no_certificate(tmp_path):
    dictionary, certificate = path_of_three()
    path = tmp_path / "c.json"
    text = json.dumps(certificate)
    for cut in range(0, len(text), 50):
        path.write_text(text[:cut])
        assert str(path) in refusal(path, dictionary)
    for content in (b"\xff\xfe", b"[]", b"null", b"1", b'{"format": 3}', b"[" * 100000, b'{"version": 1}',
                    text.replace('"version": 2', '"version": NaN').encode(),
                    text.replace('"version": 2', '"version": ' + "9" * 5000).encode()):  # fmt: skip
        path.write_bytes(content)
        refusal(path, dictionary)
    path.write_text(text.replace('"version": 2', '"version": 2, "version": 2'))
    assert "'version' occurs twice" in refusal(path, dictionary)
    assert "no such file" in refusal(tmp_path / "none.json", dictionary)
    assert "is not a file" in refusal(tmp_path, dictionary)


def test_other_versions_and_other_dictionaries_are_refused():
    dictionary, certificate = path_of_three()
    for version in (3, 0, "1", True, None, 10**4000):
        assert "reads versions 1 and 2" in refusal(rehashed(certificate | {"version": version}), dictionary)
    other = Dictionary(dictionary.mask, -dictionary.values)
    text = refusal(certificate, other)
    assert dictionary.sha256 in text
    assert other.sha256 in text
    with pytest.raises(InvalidArgument, match="masked"):
        check_certificate(certificate, DenseDictionary(np.eye(3)), progress=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["1/2", "0", "2/4", "4/2", "1/1", "-2", "+2", "2.0", "1e1", "02", "2/0", "", "٢",
                                  "9" * 5000, "2\n"])  # fmt: skip
def test_a_dynamic_range_is_a_rational_of_at_least_one_in_lowest_terms(text):
    dictionary, certificate = uneven()
    assert "dynamic_range" in refusal(rehashed(certificate | {"dynamic_range": text}), dictionary)


def test_every_rule_and_witness_that_is_right_is_accepted():
    dictionary, certificate = uneven()  # no claim of it depends on U_3
    place = ("facts", "losses", 2)
    for entry in (loss(3, 5, "subset"), loss(3, 4, "overlap"), loss(3, 4, "search"), loss(3, 4, "search", [0, 1, 2]),
                  loss(3, 5, "search"), loss(3, 4, "overlap", [0, 1, 2])):  # fmt: skip
        check_certificate(rehashed(with_value(certificate, place, entry)), dictionary, progress=False)
    for entry in (loss(3, 4, "subset"), loss(3, 5, "overlap"), loss(3, 3, "search"), loss(3, 5, "search", [0, 1, 2]),
                  loss(3, 5, "transfer", None, 2), loss(3, 6, "transfer"), loss(3, 4, "overlap", None, 2),
                  loss(3, 0, "single"), loss(3, 4, "search", [2, 1, 0]), loss(3, -1, "search"),
                  loss(3, 4, "search", [0, 0, 1, 2])):  # fmt: skip
        refusal(rehashed(with_value(certificate, place, entry)), dictionary)


def test_a_false_search_is_refuted_by_the_set_that_it_missed():
    dictionary, certificate = cycle_of_four()
    false = rehashed(with_value(certificate, ("facts", "losses", 2), loss(3, 1, "search")))
    text = refusal(false, dictionary)
    assert "facts.losses[2].loss" in text
    assert "lose at least 2" in text


def test_a_search_that_is_too_long_is_refused_with_the_reason():
    dictionary, certificate = cycle_of_four()
    with pytest.raises(
        InvalidCertificate, match=r"facts.losses\[2\]: not verified: the searches up to it would need more"
    ):
        check_certificate(certificate, dictionary, progress=False, most_candidates=3)
    check_certificate(certificate, dictionary, progress=False, most_candidates=1000)
    with pytest.raises(InvalidArgument, match="most_candidates"):
        check_certificate(certificate, dictionary, progress=False, most_candidates=-1)
    with pytest.raises(TooLong):
        find_loss(6, dictionary.mask.rows, 3, 3, [0, 0, 1], progress=False, most_sets=3)


def test_certificates_of_version_1_are_read():
    for case in CASES:
        dictionary, certificate = case()
        lines = [claim for claim in certificate["claims"] if claim["theorem"] != "L1-ERC"]
        old = rehashed(certificate | {"version": 1, "claims": lines})
        names = [theorem for theorem, *_ in TABLE if theorem != "L1-ERC"]
        assert [claim.theorem for claim in check_certificate(old, dictionary, progress=False)] == names
        assert "claims" in refusal(rehashed(certificate | {"version": 1}), dictionary)


STRANGE = [10**4299, 10**5000, -1, 13, None, b"2", 2.5, True, [[[]]], "2"]


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("key", ["loss", "size", "from", "witness"])
def test_no_value_of_any_length_or_type_ends_in_a_bare_error(value, key):
    dictionary, certificate = cycle_of_four()
    altered = copy.deepcopy(certificate)
    altered["facts"]["losses"][2][key] = value
    with contextlib.suppress(TypeError, ValueError):  # no such JSON: it stays unhashed
        altered = rehashed(altered)
    if altered["facts"] == certificate["facts"] or (key, value) == ("witness", None):
        check_certificate(altered, dictionary, progress=False)
        return
    with pytest.raises(InvalidCertificate, match=r"facts\.losses\[2\]|sha256") as refused:
        check_certificate(altered, dictionary, progress=False)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("loss", [9, 12])
def test_a_loss_that_no_set_can_have_is_refused(loss):
    """t columns of d rows lose at most d t, however weak a bound may be."""
    dictionary, certificate = cycle_of_four()
    altered = copy.deepcopy(certificate)
    altered["facts"]["losses"][3]["loss"] = loss
    assert "loss: is" in refusal(rehashed(altered), dictionary)


@pytest.mark.parametrize("given", [None, 5, b"bytes", [1]])
def test_what_is_neither_content_nor_a_path_is_named(given):
    with pytest.raises((InvalidArgument, InvalidCertificate), match=r"certificate|no such file"):
        check_certificate(given, path_of_three()[0], progress=False)  # type: ignore[arg-type]


def test_a_mapping_with_keys_of_other_types_is_refused():
    dictionary, certificate = path_of_three()
    for key in (None, b"x", 5, ("a",)):
        with pytest.raises(InvalidCertificate):
            check_certificate({**certificate, key: 1}, dictionary, progress=False)


def test_the_work_of_the_checker_is_bounded_before_it_is_done():
    """A small certificate may name a search that would take hours: candidates are counted, not only sets that pass."""
    dictionary = sign_dictionary(polynomial_mask(q=32, d=4), seed=0)
    certificate = certify(dictionary, progress=False)
    losses = certificate["facts"]["losses"]
    claimed = losses[3] | {"by": "search", "loss": losses[3]["loss"] - 1, "from": None, "witness": None}
    altered = rehashed(certificate | {"facts": certificate["facts"] | {"losses": [*losses[:3], claimed, *losses[4:]]}})
    with pytest.raises(InvalidCertificate, match="would need more than 100,000 candidates"):
        check_certificate(altered, dictionary, progress=False, most_candidates=100_000)


def test_the_facts_end_at_512():
    """d = 4096, all losses 1 and all sums tiny: conditions hold as far as the facts go and no further."""
    facts = Known(n=2000, d=4096, losses=[0, 0, *[1] * 511], sums=[Fraction(k, 10**6) for k in range(513)],
                  least=Fraction(1), curvature=Fraction(1), beta=Fraction(1), overlap=1, triangle_free=False,
                  range=Fraction(1), refusals={})  # fmt: skip
    found = {claim.theorem: evaluate(claim, facts)[0] for claim in CLAIMS}
    reached = {"IDN-1": 256, "IDN-1z": 256, "STAB-3": 256, "OMP-3": 512, "OMP-5": 511, "OMP-7u": 512, "PAPER-OMP": 511,
               "TOPK-1": 512, "NSP-2": 256, "L1-ERC": 512, "L0-1": 512, "MED-1 expansion": 511}  # fmt: skip
    for theorem, k in reached.items():
        assert (found[theorem]["k"], found[theorem]["at_next"]) == (k, None), theorem
    assert found["EXP-10"]["k"] == 2000  # 2k < d + 1 = 4097
    assert found["OMP-2"]["k"] == 2000
    assert found["MED-1 overlap"]["k"] == 2000


@pytest.mark.parametrize(("value", "shown"), [(1.0001, "1.0002"), (1.00009, None), (-0.9999, None),
                                              (0.99989, "0.99978"), (1e200, "inf")])  # fmt: skip
def test_columns_are_unit_within_one_in_ten_thousand(value, shown):
    dictionary = dictionary_of(2, [[0], [1]], [[1], [value]])
    w = scaled(dictionary)
    text = _refusals(w, value_facts(w), 0, [0, 1]).get("unit")
    assert text == (shown and f"needs unit columns: column 1 has squared norm {shown}")


def test_the_command_prints_the_claims_or_exits_with_2(tmp_path, monkeypatch, capsys):
    dictionary, certificate = path_of_three()
    command = "expander_theory.commands.theory.check_certificate:CheckCertificate"
    monkeypatch.setattr(cli, "entry_points", lambda group: [EntryPoint("check-certificate", command, group)])
    file, weights = tmp_path / "c.json", tmp_path / "w.safetensors"
    file.write_text(json.dumps(certificate))
    dictionary.save(weights)
    cli.main(["check-certificate", str(file), str(weights)])
    out = capsys.readouterr().out
    assert "| OMP-7u          | OMP             |   3 | 15/196  |" in out
    assert out.endswith("the certificate holds: every fact and claim was recomputed in exact arithmetic\n")
    file.write_text(json.dumps(rehashed(with_value(certificate, ("claims", 5, "k"), 3))))
    with pytest.raises(SystemExit) as stop:
        cli.main(["check-certificate", str(file), str(weights)])
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert "claims[5].k: the certificate says 3, the true value is 2" in captured.err
    assert "holds" not in captured.out
    DenseDictionary(np.eye(3)).save(weights)
    with pytest.raises(SystemExit):
        cli.main(["check-certificate", str(file), str(weights)])
    assert "dense dictionary" in capsys.readouterr().err
    assert issubclass(InvalidCertificate, InvalidFile)


def brute_loss(rows, size):
    return size * rows.shape[1] - oracles.least_neighbours(rows.tolist(), size)


@given(masks(), st.sampled_from([1, 100, 4_000_000]), st.sampled_from([0, 4, 10**6]), st.booleans())
def test_search_and_overlap_bounds_agree_with_enumeration(mask, cells, most_pairs, informed):
    """Also with work cut in the smallest pieces, and where the graph of close pairs is given up as too large."""
    rows, n = mask.rows, mask.n
    most = [0] + [brute_loss(rows, t) for t in range(1, n + 1)]
    known = most if informed else [10**6] * (n + 1)
    counts, overlap, _ = overlap_counts(mask.m, rows, progress=False)
    nearest = sums_of_largest(counts, n - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_check_search, "CELLS", cells)
        patch.setattr(_check_extend, "_MOST_PAIRS", most_pairs)
        for t in range(1, n + 1):
            assert overlap_bound(t, mask.d, overlap, nearest[:, t - 1]) >= most[t]
            assert find_loss(mask.m, rows, t, most[t] + 1, known, progress=False) is None
            if most[t]:
                found = find_loss(mask.m, rows, t, most[t], known, progress=False)
                assert found is not None
                assert found == sorted(set(found))
                assert len(found) <= t
                assert len(found) * mask.d - len(np.unique(rows[found])) >= most[t]


@given(masks(max_m=14, max_n=7))
def test_overlaps_and_triangles_agree_with_enumeration(mask):
    supports = [set(column) for column in mask.rows.tolist()]
    counts, overlap, pair = overlap_counts(mask.m, mask.rows, progress=False)
    shared = {(j, l): len(supports[j] & supports[l]) for j, l in itertools.permutations(range(mask.n), 2)}
    pairs = [p for p in sorted(shared) if p[0] < p[1]]
    assert overlap == max(shared.values(), default=0)
    assert pair == next((list(p) for p in pairs if shared[p] == overlap), None)
    for j in range(mask.n):
        others = sorted((shared[j, l] for l in range(mask.n) if l != j), reverse=True)
        assert sums_of_largest(counts, mask.n - 1)[j].tolist() == [sum(others[:c]) for c in range(mask.n)]
    if overlap <= 1:
        triangle = any(
            len({tuple(supports[a] & supports[b]) for a, b in itertools.combinations(s, 2)} - {()}) == 3
            for s in itertools.combinations(range(mask.n), 3)
        )
        assert has_triangle(mask.m, mask.rows, progress=False) == triangle


@pytest.mark.parametrize(
    ("rows", "triangle"),
    [([[0, 1], [1, 2], [0, 2]], True), ([[0, 1], [0, 2], [0, 3]], False), ([[0, 1], [1, 2], [2, 3], [0, 3]], False)],
)
def test_a_triangle_needs_three_different_rows(rows, triangle):
    assert has_triangle(4, np.array(rows), progress=False) == triangle


MODULI = {"signs": [0.75, -0.75], "signs and zeros": [0.75, -0.75, 0.0], "any": [0.1, -3.0, 1e-3, 0.0, 7e9, -0.5]}


@given(masks(max_m=8, max_n=7), st.sampled_from(sorted(MODULI)), st.data())
def test_values_and_gram_sums_agree_with_fractions(mask, kind, data):
    some = st.lists(st.sampled_from(MODULI[kind]), min_size=mask.d, max_size=mask.d).filter(any)
    values = np.array(data.draw(st.lists(some, min_size=mask.n, max_size=mask.n)))
    dictionary = Dictionary(mask, values.astype(data.draw(st.sampled_from([np.float32, np.float64]))))
    columns = [
        {i: Fraction(float(v)) for i, v in zip(r, c, strict=True)}
        for r, c in zip(mask.rows.tolist(), dictionary.values, strict=True)
    ]
    gram = [[sum(a[i] * b[i] for i in a.keys() & b.keys()) for b in columns] for a in columns]
    n, norms = mask.n, [gram[j][j] for j in range(mask.n)]
    sums = [[sum(sorted((abs(gram[j][l]) for l in range(n) if l != j), reverse=True)[:k]) for j in range(n)]
            for k in range(n)]  # fmt: skip
    end = next((k for k in range(n - 1) if max(sums[k]) >= min(norms)), n - 1)
    w = scaled(dictionary)
    found, first = gram_sums(w, progress=False)
    assert [w.exact(a) for a in found] == [max(line) for line in sums[: end + 1]]
    assert first == [None, *[line.index(max(line)) for line in sums[1 : end + 1]]]
    facts = value_facts(w)
    peaks = [max(map(abs, c.values())) for c in columns]
    curved = [mask.d * p * p / q for p, q in zip(peaks, norms, strict=True)]
    spiky = [mask.d * p / sum(map(abs, c.values())) for p, c in zip(peaks, columns, strict=True)]
    zeros = [list(c.values()).count(0) for c in columns]
    assert facts["norms"] == {"least": str(min(norms)), "least_column": norms.index(min(norms))} | {
        "largest": str(max(norms)), "largest_column": norms.index(max(norms))
    }  # fmt: skip
    assert facts["flatness"] == {"C_squared": str(max(curved)), "C_column": curved.index(max(curved))} | {
        "beta": str(max(spiky)), "beta_column": spiky.index(max(spiky))
    }  # fmt: skip
    assert facts["zeros"] == {"count": sum(zeros), "first_column": next((j for j in range(n) if zeros[j]), None)}
    assert facts["binary"] == (len({v for c in columns for v in c.values()}) == 1 and columns[0][mask.rows[0, 0]] > 0)
