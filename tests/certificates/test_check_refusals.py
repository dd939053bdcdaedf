"""What the checker refuses, with the reason; the work that it does is bounded before."""

import contextlib
import copy
import json
from fractions import Fraction
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from support.cases.hand_certificates import (
    CASES,
    TABLE,
    cycle_of_four,
    dictionary_of,
    loss,
    path_of_three,
    refusal,
    rehashed,
    uneven,
    with_value,
)

from expander_theory import cli, polynomial_mask, sign_dictionary
from expander_theory.base.errors import InvalidArgument, InvalidFile
from expander_theory.certificates._check.claims import CLAIMS, Known, evaluate
from expander_theory.certificates._check.facts import scaled, value_facts
from expander_theory.certificates._check.search import TooLong, find_loss
from expander_theory.certificates.check import InvalidCertificate, _refusals, check_certificate
from expander_theory.certificates.prove import certify
from expander_theory.dictionaries.dictionary import DenseDictionary


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
    dense = DenseDictionary(np.eye(3))
    dense.save(weights)
    with pytest.raises(SystemExit):
        cli.main(["check-certificate", str(file), str(weights)])
    assert "dictionary.sha256: the certificate is for the dictionary" in capsys.readouterr().err
    file.write_text(json.dumps(certify(dense, progress=False)))
    cli.main(["check-certificate", str(file), str(weights)])
    assert "| OMP-2     | OMP             |   3 | 1       |" in capsys.readouterr().out
    assert issubclass(InvalidCertificate, InvalidFile)
