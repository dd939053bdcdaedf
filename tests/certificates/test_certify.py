"""What is refused a certificate, the file, and the command."""

import hashlib
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from support.cases.certificate_cases import dictionaries, ks, prove

from expander_theory import Dictionary, Mask
from expander_theory.base.errors import InvalidArgument, InvalidFile
from expander_theory.certificates.prove import write_certificate
from expander_theory.commands.theory.certify import Certify
from expander_theory.dictionaries.dictionary import DenseDictionary
from expander_theory.dictionaries.values import flat_dictionary, sign_dictionary
from expander_theory.masks import (
    complete_graph_mask,
    polynomial_mask,
    save_mask,
    uniform_mask,
)


def test_refusals_name_the_first_offender():
    mask = Mask(8, np.array([[0, 1, 2], [2, 3, 4], [3, 4, 5], [3, 4, 6]]))
    values = np.array([[1.0, 0, 0], [0.6, 0.8, 0.01], [0.6, 0, 0.8], [0.6, 0.8, 0.02]])
    refused = {claim["theorem"]: claim["refused"] for claim in prove(Dictionary(mask, values))["claims"]}
    full, unit = "needs a full mask: column 0 has a zero entry", "needs unit columns: column 3 has squared norm 1.0004"
    for theorem in ("IDN-1", "EXP-10", "L0-1", "MED-1 overlap", "MED-1 expansion"):
        assert refused[theorem] == full
    for theorem in ("OMP-2", "OMP-3", "OMP-5", "OMP-7u", "PAPER-OMP", "TOPK-1"):
        assert refused[theorem] == unit
    assert refused["L0-2"] == "needs equal positive values"
    assert refused["IDN-1z"] is refused["STAB-3"] is refused["NSP-2"] is refused["L1-ERC"] is None


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ([1.0, 1e-2], None),  # 1 + 1e-4
        ([1.0, math.sqrt(2e-4)], "1.0002"),  # the float is a little above the root of 2e-4
        ([1.0, np.nextafter(math.sqrt(2e-4), 0)], None),
        ([0.9998, 0.0], "0.9996"),
        ([1.0, 4e-320], None),
        ([1e200, 0.0], "inf"),
        ([1e-200, 0.0], "0"),
    ],
)
def test_unit_columns_are_decided_exactly(values, refused):
    exactly = sum(Fraction(value) ** 2 for value in values)
    assert (abs(exactly - 1) > Fraction(2, 10000)) == (refused is not None)
    dictionary = Dictionary(Mask(4, np.array([[0, 1], [2, 3]])), np.array([[1.0, 0.0], values]))
    found = {claim["theorem"]: claim["refused"] for claim in prove(dictionary)["claims"]}["OMP-2"]
    assert found == (refused and f"needs unit columns: column 1 has squared norm {refused}")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"dynamic_range": Fraction(1, 2)}, "dynamic_range"),
        ({"dynamic_range": 1.5}, "dynamic_range"),
        ({"time_limit": -1}, "time_limit"),
        ({"time_limit": math.nan}, "time_limit"),
    ],
)
def test_wrong_arguments_are_named(options, name):
    with pytest.raises(InvalidArgument, match=name):
        prove(sign_dictionary(complete_graph_mask(4), seed=0), **options)


def test_dense_dictionaries_get_version_3_and_what_is_no_matrix_is_refused():
    certificate = prove(DenseDictionary(np.eye(3)))
    assert (certificate["version"], certificate["dictionary"]["kind"]) == (3, "dense")
    assert ks(certificate) == dict.fromkeys(("STAB-3", "OMP-2", "OMP-3", "OMP-7u", "TOPK-1", "L1-ERC"), 3)
    for matrix in ("text", np.zeros(3), np.zeros((2, 2)), None, np.eye(2) * 1j, np.array([[np.nan]])):
        with pytest.raises(InvalidArgument, match=r"dictionary|values"):
            prove(matrix)


@given(dictionaries())
def test_certificates_are_deterministic_hashed_and_survive_json(dictionary):
    certificate = prove(dictionary)
    assert certificate == prove(Dictionary(Mask(dictionary.m, dictionary.mask.rows), dictionary.values))
    assert json.loads(json.dumps(certificate)) == certificate
    assert (certificate["format"], certificate["version"]) == ("expander-certificate", 2)
    assert certificate["dictionary"] == {
        "sha256": dictionary.sha256,
        "m": dictionary.m,
        "n": dictionary.n,
        "d": dictionary.d,
    }
    content = {name: value for name, value in certificate.items() if name != "sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert certificate["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_files_are_indented_json(tmp_path):
    certificate = prove(flat_dictionary(uniform_mask(30, 20, 4, seed=2), flatness=1.5, seed=2))
    path = tmp_path / "folder" / "certificate.json"
    write_certificate(certificate, path)
    assert json.loads(path.read_text()) == certificate
    assert path.read_text().startswith('{\n  "format": "expander-certificate",\n')


def test_the_command(tmp_path, capsys):
    dictionary = sign_dictionary(polynomial_mask(7, 7), seed=0)
    source, out = tmp_path / "dictionary.safetensors", tmp_path / "certificate.json"
    dictionary.save(source)
    Certify(source, out, dynamic_range="1.5").run()
    shown = capsys.readouterr().out
    assert json.loads(out.read_text()) == prove(dictionary, dynamic_range=Fraction(3, 2))
    assert "identifiability: k = 4 by IDN-1, IDN-1z (every k-sparse code is the only" in shown
    assert "needs equal positive values" in shown
    assert str(out) in shown
    with pytest.raises(InvalidFile, match="--force"):
        Certify(source, out).run()
    Certify(source, out, dynamic_range="3/2", force=True).run()
    assert json.loads(out.read_text())["dynamic_range"] == "3/2"


def test_the_command_says_where_nothing_is_certified(tmp_path, capsys):
    Dictionary(Mask(1, np.array([[0], [0]])), np.ones((2, 1))).save(tmp_path / "d")
    Certify(tmp_path / "d", tmp_path / "c.json").run()
    shown = capsys.readouterr().out
    for goal in ("identifiability", "OMP", "TopK encoder", "l1", "l0 decoding"):
        assert f"{goal}: no theorem here certifies anything, not even for k = 1" in shown


@pytest.mark.parametrize("text", ["a half", "1/0", "-2", "0.5", "1e3", "nan", "2/", ""])
def test_the_command_names_a_wrong_dynamic_range(tmp_path, text):
    with pytest.raises(InvalidArgument, match="dynamic-range"):
        Certify(tmp_path / "d", tmp_path / "c.json", dynamic_range=text).run()


def test_the_command_refuses_masks_and_takes_dense_dictionaries(tmp_path, capsys):
    save_mask(complete_graph_mask(4), tmp_path / "mask")
    with pytest.raises(InvalidFile, match="mask without values"):
        Certify(tmp_path / "mask", tmp_path / "c.json").run()
    assert not (tmp_path / "c.json").exists()
    DenseDictionary(np.eye(3)).save(tmp_path / "dense")
    Certify(tmp_path / "dense", tmp_path / "c.json").run()
    assert "OMP: k = 3 by OMP-2, OMP-3" in capsys.readouterr().out
    assert json.loads((tmp_path / "c.json").read_text()) == prove(DenseDictionary(np.eye(3)))


def test_babel_sums_prove_more_for_l1_than_expansion_does():
    """THEORY.md L1-ERC: k = 4 where NSP-2 gives 2."""
    found = ks(prove(sign_dictionary(polynomial_mask(q=64, d=8), seed=0), time_limit=1.0))
    assert (found["NSP-2"], found["L1-ERC"]) == (2, 4)
