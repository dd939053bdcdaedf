"""Solvers on the same instances at a tiny scale: pairs, exact tests, what a later run adds, and drawing."""

import csv
from collections import Counter
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from scipy.stats import binomtest

from expander_theory import InvalidFile
from expander_theory.plotting import write
from expander_theory.results.ledger import Ledger, read_ledger
from expander_theory.simulation.cells import blocks_of, tasks_of
from experiments.commands.theory import CompareSolvers
from experiments.theory import solver_comparison as experiment
from experiments.theory.solver_comparison import SCALES, Scale
from paper_figures.figures.theory import solver_comparison as figure

TINY = Scale(32, 64, 4, ks=(2, 6, 10), laws=("gaussian", "signs"), against=("topk", "gomp"), trials=50)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    out = tmp_path_factory.mktemp("solvers") / "out"
    with patch.context() as context:
        context.setitem(experiment.SCALES, "quick", TINY)
        CompareSolvers(out, workers=1).run()
    return out


def rows_of(folder, name="figures/tables/solver_comparison"):
    with open(folder / f"{name}.csv") as file:
        return list(csv.DictReader(file))


def outcomes(folder):
    """By law, solver and k."""
    _, records = read_ledger(folder / "ledger.jsonl")
    tasks, blocks = tasks_of(records), blocks_of(records)
    return {
        (t.codes.law, t.solver, t.k): "".join(blocks[t.id][b].outcome for b in sorted(blocks[t.id]))
        for t in tasks.values()
    }


def test_every_pair_is_counted_trial_by_trial(folder):
    known, rows = outcomes(folder), rows_of(folder)
    order = [(law, solver, k) for law in TINY.laws for solver in ("gomp", "topk") for k in TINY.ks]
    assert [(row["codes"], row["second"], int(row["k"])) for row in rows] == order
    for row, (law, solver, k) in zip(rows, order, strict=True):
        pairs = Counter(zip(known[law, "omp", k], known[law, solver, k], strict=True))
        assert row["first"] == "omp"
        assert [int(row[name]) for name in ("trials", "both", "first only", "second only")] == [
            *(50, pairs["1", "1"], pairs["1", "0"], pairs["0", "1"]),
        ]
        assert float(row["difference"]) == pytest.approx((pairs["1", "0"] - pairs["0", "1"]) / 50)
        assert float(row["low"]) <= float(row["difference"]) <= float(row["high"])
        discordant = pairs["1", "0"] + pairs["0", "1"]
        p = binomtest(pairs["1", "0"], discordant).pvalue if discordant else 1
        assert float(row["p"]) == pytest.approx(p)
        assert float(row["p, Holm"]) >= float(row["p"])
    assert min(float(row["p, Holm"]) for row in rows) < 1e-6  # the tied encoder is no match for OMP


def test_solvers_see_the_same_instances(folder):
    _, records = read_ledger(folder / "ledger.jsonl")
    by_instance = Counter(task.instance_id for task in tasks_of(records).values())
    assert set(by_instance.values()) == {3}
    assert len(by_instance) == len(TINY.laws) * len(TINY.ks)


def test_holm_s_adjustment():
    assert figure.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert figure.holm([0.5, 0.9]) == [1.0, 1.0]
    assert figure.holm([0.2]) == [0.2]
    assert figure.holm([]) == []
    p = np.random.default_rng(0).random(9) ** 4
    ranks = np.argsort(np.argsort(p))
    for i in range(9):  # the largest factor * p among those no larger
        assert figure.holm(list(p))[i] == pytest.approx(
            min(1, max((9 - ranks[j]) * p[j] for j in range(9) if p[j] <= p[i]))
        )


def test_more_solvers_and_trials_add_to_what_is_there(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(experiment.SCALES, "quick", TINY)
    (tmp_path / "ledger.jsonl").write_bytes((folder / "ledger.jsonl").read_bytes())
    before = (tmp_path / "ledger.jsonl").read_bytes()
    CompareSolvers(tmp_path, workers=1).run()
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    CompareSolvers(tmp_path, against=("niht",), trials=75, workers=1).run()
    assert (tmp_path / "ledger.jsonl").read_bytes().startswith(before)
    trials = {row["second"]: row["trials"] for row in rows_of(tmp_path)}
    assert trials == {"gomp": "50", "niht": "75", "topk": "50"}
    old = {(r["codes"], r["second"], r["k"]): r["first only"] for r in rows_of(folder)}
    assert {key: r["first only"] for r in rows_of(tmp_path) if (key := (r["codes"], r["second"], r["k"])) in old} == old
    monkeypatch.setitem(experiment.SCALES, "quick", replace(TINY, d=5))
    with pytest.raises(InvalidFile, match="d is 4 there and 5 here"):
        CompareSolvers(tmp_path, workers=1).run()


def test_drawn_the_same_whatever_the_order_of_the_records(folder, tmp_path):
    identity, records = read_ledger(folder / "ledger.jsonl")
    with Ledger(tmp_path / "ledger.jsonl", identity) as ledger:
        for record in reversed(records):
            ledger.append(record)
    files = write(figure.draw(tmp_path / "ledger.jsonl"), tmp_path / "figures")
    assert len(files) == 5
    for file in files:
        assert file.read_bytes() == (folder / file.relative_to(tmp_path)).read_bytes()
    assert matplotlib.image.imread(files[0]).std() > 0.05
    rates = rows_of(folder, "figures/solver_comparison_rates")
    assert [row["solver"] for row in rates[:4]] == ["omp", "omp", "omp", "gomp"]


@pytest.mark.parametrize("case", ["no results", "another experiment", "only others"])
def test_nothing_to_compare_is_not_drawn(folder, tmp_path, case):
    identity, records = read_ledger(folder / "ledger.jsonl")
    others = {task.id for task in tasks_of(records).values() if task.solver != "omp"}
    kept = {"no results": [], "another experiment": records}.get(case, [r for r in records if r.task in others])
    with Ledger(tmp_path / "ledger.jsonl", {"kind": "sweep"} if case == "another experiment" else identity) as ledger:
        for record in kept:
            ledger.append(record)
    assert figure.draw(tmp_path / "ledger.jsonl") is None


def test_presets():
    assert SCALES["quick"].against == ("topk", "matching-pursuit", "gomp", "cosamp", "niht", "basis-pursuit")
    assert "basis-pursuit" not in SCALES["full"].against
    assert (SCALES["quick"].m, SCALES["quick"].n, SCALES["quick"].d) == (128, 512, 8)
