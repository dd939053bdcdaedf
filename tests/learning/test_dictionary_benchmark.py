"""The comparison of ways to learn a dictionary: its data, its judge, and one method in a process of its own."""

import json

import numpy as np
import pytest

from expander_theory import InvalidArgument
from experiments.bench.dictionary_learning.__main__ import THREADS, Run, table
from experiments.bench.dictionary_learning.methods import METHODS, cosines, ours, principal, spams_dictionary
from experiments.bench.dictionary_learning.problems import digits, patches


def test_problems():
    for problem, m in ((digits(0), 64), (patches(0, 300, 100), 144)):
        assert problem.train.shape[1] == problem.held_out.shape[1] == problem.side**2 == m
        np.testing.assert_allclose(problem.train.mean(axis=0), 0, atol=1e-12)
        assert problem.energy == pytest.approx(np.square(problem.held_out).sum())
    assert len(patches(0, 300, 100).held_out) == 100
    np.testing.assert_array_equal(digits(1).train, digits(1).train)
    assert (digits(1).train != digits(0).train).any()


def test_bases_are_orthonormal():
    problem = digits(0)
    for basis in (cosines(problem, 0), principal(problem, 0)):
        np.testing.assert_allclose(basis.to_dense().T @ basis.to_dense(), np.eye(64), atol=1e-9)


def test_methods_give_dictionaries_of_the_problem(monkeypatch):
    pytest.importorskip("spams")
    monkeypatch.setattr("experiments.bench.dictionary_learning.methods.OUR_PASSES", {"digits": 1})
    problem = digits(0)
    blocks = ours(problem, 0, degree=4, dense=True)
    assert (blocks.m, blocks.n, blocks.r) == (64, 256, 8)
    assert spams_dictionary(problem, 0).m == 64


def test_a_run(tmp_path, monkeypatch, capsys):
    for name in THREADS:
        monkeypatch.setenv(name, "1")  # what the run sets is taken back
    out = tmp_path / "found.json"
    Run(problems=("digits",), only="k largest pixels", out=out).run()
    (record,) = json.loads(out.read_text())["records"]
    problem = digits(0)
    left = np.sort(problem.held_out**2, axis=1)[:, : 64 - problem.k].sum() / problem.energy
    assert record["fvu"] == pytest.approx(left)
    assert record["values"] == 0
    assert record["seconds"] >= 0
    assert table([record]) in capsys.readouterr().out


def test_bad_options():
    with pytest.raises(InvalidArgument, match="problems = 'faces': must be of patches, digits"):
        Run(problems=("faces",)).run()
    with pytest.raises(InvalidArgument, match="only = 'nobody'"):
        Run(only="nobody").run()
    assert len({one.name for one in METHODS}) == len(METHODS)
