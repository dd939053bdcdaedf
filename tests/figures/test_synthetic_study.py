"""The synthetic study at a tiny scale: cells, intervals that rest on the masks, resume, and drawing from the ledger."""

import csv
import shutil
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from scipy import stats

from expander_theory import InvalidFile
from expander_theory.plotting import write
from expander_theory.results.ledger import Ledger, read_ledger
from expander_theory.simulation.cells import blocks_of, tasks_of
from experiments.commands.theory import SyntheticStudy
from experiments.theory import synthetic_study as experiment
from experiments.theory.synthetic_study import SCALES, Scale, ladders
from paper_figures.figures.theory import synthetic_study as figure

TINY = Scale(64, 128, degrees=(4, 16), ks=(2, 8, 24), sigmas=(0.0, 0.05), signals=5, dictionaries=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    out = tmp_path_factory.mktemp("synthetic") / "out"
    with patch.context() as context:
        context.setitem(experiment.SCALES, "quick", TINY)
        SyntheticStudy(out, workers=1).run()
    return out


def rows_of(folder):
    with open(folder / "figures" / "synthetic_study.csv") as file:
        return {(float(row["sigma"]), int(row["d"]), int(row["k"])): row for row in csv.DictReader(file)}


def test_the_full_study_is_the_paper_s():
    full, quick = SCALES["full"], SCALES["quick"]
    assert (full.m, full.n) == (512, 4096)
    assert full.degrees == (7, 30, 50, 100, 200)
    assert full.ks == (4, 8, 16, 32, 64, 128)
    assert full.sigmas == (0, 0.01, 0.05)
    assert full.signals * full.dictionaries >= 1000
    assert quick == replace(full, dictionaries=quick.dictionaries)
    for column in ladders(full, 0):
        task = column.base
        assert task.block_size % task.signals_per_dictionary == 0
        assert (task.ensemble.values, task.codes.law, task.solver, task.precision) == (
            *("signs", "gaussian", "omp", "float32"),
        )


def test_every_cell_has_the_trials_that_were_asked_for(folder):
    rows = rows_of(folder)
    assert set(rows) == {(s, d, k) for s in TINY.sigmas for d in TINY.degrees for k in TINY.ks}
    assert {(row["trials"], row["dictionaries"]) for row in rows.values()} == {("200", "40")}
    assert all(row["noise"] == ("relative 0.05" if sigma else "none") for (sigma, _, _), row in rows.items())


def test_what_is_plotted_is_what_the_ledger_holds(folder):
    _, records = read_ledger(folder / "ledger.jsonl")
    rows, blocks = rows_of(folder), blocks_of(records)
    for name, task in tasks_of(records).items():
        row, known = rows[task.noise.sigma, task.ensemble.d, task.k], blocks[name]
        outcome = "".join(known[block].outcome for block in sorted(known))
        assert float(row["rate"]) == outcome.count("1") / 200
        assert float(row["low"]) <= float(row["rate"]) <= float(row["high"])
        for measure in ("fraction", "error"):
            values = [getattr(known[block], measure) for block in sorted(known)]
            assert float(row[measure]) == pytest.approx(np.mean(values))
            ends = np.array([float(row[f"{measure}_low"]), float(row[f"{measure}_high"])])
            if np.std(values) > 0:
                expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
                limit = 1 if measure == "fraction" else np.inf
                np.testing.assert_allclose(ends, np.clip(expected, 0, limit), rtol=1e-9)
            else:
                np.testing.assert_allclose(ends, values[0])


def test_rates_fall_with_sparsity_and_errors_follow_the_noise(folder):
    rows = rows_of(folder)
    for sigma in TINY.sigmas:
        for d in TINY.degrees:
            assert float(rows[sigma, d, 2]["rate"]) > float(rows[sigma, d, 24]["rate"])
            assert float(rows[sigma, d, 2]["fraction"]) > float(rows[sigma, d, 24]["fraction"])
    assert float(rows[0, 16, 2]["error"]) < 1e-5
    least_squares = 0.05 * np.sqrt(2 / (64 - 2 - 1))
    assert 0.5 < float(rows[0.05, 16, 2]["error"]) / least_squares < 2


def test_a_second_run_adds_nothing_and_a_larger_one_adds_to_it(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "out")
    ledger = tmp_path / "out" / "ledger.jsonl"
    before = ledger.read_bytes()
    monkeypatch.setitem(experiment.SCALES, "quick", TINY)
    SyntheticStudy(tmp_path / "out", workers=1).run()
    assert ledger.read_bytes() == before
    monkeypatch.setitem(experiment.SCALES, "full", replace(TINY, dictionaries=45))
    SyntheticStudy(tmp_path / "out", "full", workers=1).run()
    assert ledger.read_bytes().startswith(before)
    assert {row["trials"] for row in rows_of(tmp_path / "out").values()} == {"225"}
    monkeypatch.setitem(experiment.SCALES, "quick", replace(TINY, signals=1))
    with pytest.raises(InvalidFile, match="signals is 5 there and 1 here"):
        SyntheticStudy(tmp_path / "out", workers=1).run()


def test_drawn_from_the_ledger_alone_whatever_the_order_of_its_records(folder, tmp_path):
    identity, records = read_ledger(folder / "ledger.jsonl")
    with Ledger(tmp_path / "ledger.jsonl", identity) as ledger:
        for record in reversed(records):
            ledger.append(record)
    files = write(figure.draw(tmp_path / "ledger.jsonl"), tmp_path / "figures")
    assert [str(file.relative_to(tmp_path)) for file in files] == [
        *(f"figures/synthetic_study.{end}" for end in ("png", "pdf", "csv")),
        *(f"figures/tables/synthetic_study.{end}" for end in ("md", "csv")),
    ]
    for file in files:
        assert file.read_bytes() == (folder / file.relative_to(tmp_path)).read_bytes()
    assert matplotlib.image.imread(files[0]).std() > 0.05


def test_a_ledger_without_results_or_of_something_else_is_not_drawn(tmp_path):
    for name, kind in (("a", figure.KIND), ("b", "sweep")):
        with Ledger(tmp_path / name, {"kind": kind}):
            pass
        assert figure.draw(tmp_path / name) is None


def test_a_single_block_tells_nothing_of_the_spread():
    assert figure._mean_interval([0.3]) == (0, np.inf)
