"""``expander theorems`` from outside: list, show, check, attack, resume, and what a refuted statement looks like."""

import json
from dataclasses import replace
from fractions import Fraction

import matplotlib.image
import numpy as np
import pytest

from expander_theory import Dictionary, expansion_profile, polynomial_mask, sign_dictionary
from expander_theory.cli import main
from expander_theory.results.ledger import read_ledger
from expander_theory.theorems import Statement, positive, registry, statements


@pytest.fixture
def run(capsys):
    def call(*words, expect=0):
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        assert code == expect, captured
        return captured

    return call


def test_list_and_show(run):
    listing = run("theorems").out
    assert all(f"| {id} " in listing for id in statements())
    text = run("theorems", "show", "idn-1").out
    for part in ("eps_{2k} < 1/2", "LaTeX", "proof: THEORY.md, IDN-1", "full mask", "mutant IDN-1/equality"):
        assert part in text
    assert "a mutant: false" in run("theorems", "show", "IDN-1/eps_k").out
    assert "did you mean NSP-2?" in run("theorems", "show", "NPS-2", expect=2).err


@pytest.fixture
def polynomial(tmp_path):
    path = tmp_path / "w.safetensors"
    sign_dictionary(polynomial_mask(16, 6), seed=0).save(path)
    return path


def test_check_prints_margins_with_their_direction(run, polynomial):
    out = run("theorems", "check", polynomial, "IDN-1", "OMP-3", "--k", 3).out
    low, high = expansion_profile(polynomial_mask(16, 6), 6).ratio_bounds()
    assert low == high
    assert f"{low - Fraction(1, 2)} (holds)" in out
    assert "exact" in out
    whole = run("theorems", "check", polynomial, "--k", 2, "--time-limit", 1).out
    assert "MED-1" in whole
    assert "not evaluated" in whole  # some need a code
    assert "is needed" in run("theorems", "check", polynomial, "RIP1-1", "STAB-1", expect=2).err


def test_check_refuses_a_dictionary_by_its_column(run, tmp_path):
    values = np.ones((256, 6))
    values[17, 2] = 0
    Dictionary(polynomial_mask(16, 6), values).save(tmp_path / "w.safetensors")
    assert "column 17" in run("theorems", "check", tmp_path / "w.safetensors", "IDN-1", expect=2).err
    assert "column 0 has norm" in run("theorems", "check", tmp_path / "w.safetensors", "OMP-2", expect=2).err


def test_attack_records_resumes_and_draws(run, tmp_path):
    out = tmp_path / "attack"
    words = ("theorems", "attack", "EXP-2", "IDN-1", "--mutants", "--workers", 2, "--out", out)
    first = run(*words)
    assert "2 statements stand, 6 mutants refuted." in first.out
    assert "column 0: rows [0]" in first.out
    before = (out / "ledger.jsonl").read_bytes()
    again = run(*words, "--no-counterexamples")
    assert (out / "ledger.jsonl").read_bytes() == before
    assert "column 0" not in again.out
    _, records = read_ledger(out / "ledger.jsonl")
    assert {r.id for r in records if not r.mutant} == {"EXP-2", "IDN-1"}
    assert all(r.met <= r.tried for r in records)
    run("figures", "--results", out)
    assert matplotlib.image.imread(out / "figures" / "tightness.png").std() > 0.01
    assert "IDN-1/eps_k" in (out / "figures" / "tables" / "tightness.md").read_text()
    assert "tightness" in json.loads((out / "figures" / "manifest.json").read_text())["figures"]
    assert "belongs to another experiment" in run(*words, "--seed", 1, expect=2).err


def test_the_same_records_whatever_the_workers(run, tmp_path):
    stored = []
    for workers in (1, 2):
        run("theorems", "attack", "EXP-3", "STAB-3", "--workers", workers, "--out", tmp_path / str(workers))
        records = read_ledger(tmp_path / str(workers) / "ledger.jsonl")[1]
        stored.append(sorted((replace(record, seconds=0) for record in records), key=lambda record: record.id))
    assert stored[0] == stored[1]


FALSE = Statement("FALSE-1", "All dictionaries have one column.", lambda c: positive(2 - c.n))
EMPTY = Statement("EMPTY-1", "Nothing.", lambda c: positive(1), {"never": lambda c: positive(-1)})


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        (FALSE, "FALSE-1 was refuted"),
        (EMPTY, "EMPTY-1 means little"),
        (EMPTY.mutant("alive", "Still nothing."), "mutant EMPTY-1/alive survived"),
    ],
)
def test_what_must_not_be_ends_with_code_2(run, monkeypatch, statement, complaint):
    monkeypatch.setattr(registry, "statements", lambda: {statement.id: statement})
    monkeypatch.setattr("expander_theory.theorems.searching.campaign.find_statement", lambda id: statement)
    monkeypatch.setattr("expander_theory.theorems.registry.find_statement", lambda id: statement)
    assert complaint in run("theorems", "attack", statement.id, "--workers", 1, expect=2).err
