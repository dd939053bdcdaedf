"""The checker: certificates written by hand are accepted, and no field of them can be altered."""

import copy
import json
from fractions import Fraction

import numpy as np
import pytest
from support.cases.hand_certificates import (
    CASES,
    cycle_of_four,
    one_column,
    path_of_three,
    refusal,
    rehashed,
    uneven,
    with_value,
)

from expander_theory import Dictionary
from expander_theory.base.errors import InvalidArgument
from expander_theory.certificates.check import check_certificate
from expander_theory.dictionaries.dictionary import DenseDictionary


def with_kind(certificate, version):
    """The same of another version, whose dictionaries have a kind and no d."""
    subject = {name: certificate["dictionary"][name] for name in ("sha256", "m", "n")} | {"kind": "dense"}
    return certificate | {"version": version, "dictionary": subject}


cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)


def places(value, path=()):
    """The path of every value in a JSON document, inner ones after outer ones."""
    yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield from places(item, (*path, name))


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
    for version in (4, 0, "1", True, None, 10**4000):
        assert "reads versions 1, 2 and 3" in refusal(rehashed(certificate | {"version": version}), dictionary)
    other = Dictionary(dictionary.mask, -dictionary.values)
    text = refusal(certificate, other)
    assert dictionary.sha256 in text
    assert other.sha256 in text
    assert "facts.zeros: is no field" in refusal(rehashed(with_kind(certificate, version=3)), dictionary)
    dense = DenseDictionary(dictionary.to_dense().T)
    assert "dictionary.sha256: the certificate is for" in refusal(certificate, dense)
    moved = with_value(certificate, ("dictionary", "sha256"), dense.sha256)
    assert "version: is 2, which is for masked dictionaries" in refusal(rehashed(moved), dense)
    with pytest.raises(InvalidArgument, match="must be an"):
        check_certificate(certificate, np.zeros(3), progress=False)


@pytest.mark.parametrize("text", ["1/2", "0", "2/4", "4/2", "1/1", "-2", "+2", "2.0", "1e1", "02", "2/0", "", "٢",
                                  "9" * 5000, "2\n"])  # fmt: skip
def test_a_dynamic_range_is_a_rational_of_at_least_one_in_lowest_terms(text):
    dictionary, certificate = uneven()
    assert "dynamic_range" in refusal(rehashed(certificate | {"dynamic_range": text}), dictionary)
