"""The phase boundary at a tiny scale: search beside the fixed grid, what is claimed of it, cost, and the figure."""

import csv
import math
import subprocess
import sys
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.plotting import write
from expander_theory.results import BlockRecord, TimingRecord
from expander_theory.results.ledger import Ledger, read_ledger
from expander_theory.simulation.cells import blocks_of, tasks_of
from expander_theory.simulation.schedules.schedule import FindBoundary, Ladder
from expander_theory.statistics.intervals import fit_boundary
from experiments.commands.theory import PhaseBoundary
from experiments.theory import phase_boundary as experiment
from experiments.theory.phase_boundary import SCALES, Scale
from experiments.theory.stopwatch import timed
from paper_figures.figures.theory import phase_boundary as figure

TINY = Scale(n=80, d=4, columns=4, resolution=0.08, max_trials=2000, rows=10, trials=40)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Results of both methods."""
    patch, base = pytest.MonkeyPatch(), tmp_path_factory.mktemp("boundary")
    with patch.context() as context:
        context.setitem(experiment.SCALES, "full", TINY)
        for method in ("fit", "bracket"):
            PhaseBoundary(base / method, method=method, workers=1).run()
    return {method: base / method for method in ("fit", "bracket")}


def rows_of(folder, name="phase_boundary"):
    with open(folder / "figures" / "tables" / f"{name}.csv") as file:
        return list(csv.DictReader(file))


def counts_of(folder, seed):
    """Successes and trials by m and k, straight from the records."""
    identity, records = read_ledger(folder / "ledger.jsonl")
    tasks, found = tasks_of(records), {}
    for name, blocks in blocks_of(records).items():
        task = tasks[name]
        if task.seed == identity[seed]:
            outcome = "".join(block.outcome for block in blocks.values())
            found.setdefault(task.ensemble.m, {})[task.k] = (outcome.count("1"), len(outcome))
    return found


def test_the_full_diagram_is_forty_by_forty():
    full = SCALES["full"]
    assert (full.n, full.d, full.columns, full.rows, full.trials, full.resolution) == (1024, 8, 40, 40, 100, 0.005)
    rows = experiment._rows(full)
    assert len(set(rows)) == 40
    assert (rows[0], rows[-1]) == (26, 1024)
    assert experiment._fixed_ks(full, 1024) == tuple(round(25.6 * j) for j in range(1, 41))
    assert experiment._fixed_ks(full, 26) == tuple(range(1, 27))


def test_the_fit_s_row_is_the_fit_of_the_counts(folders):
    counts, rows = counts_of(folders["fit"], "seed"), rows_of(folders["fit"])
    assert [int(row["m"]) for row in rows] == [20, 40, 60, 80]
    for row in rows:
        m = int(row["m"])
        ks = sorted(counts[m])
        x, n = zip(*(counts[m][k] for k in ks), strict=True)
        fit = fit_boundary([k / m for k in ks], x, n, level=0.975)
        assert float(row["k/m at 50 %"]) == pytest.approx(fit.centre)
        assert (float(row["low"]), float(row["high"])) == pytest.approx((fit.low, fit.high))
        assert int(row["trials"]) == sum(n)
        assert int(row["cells"]) == len(ks)
        assert row["known"] == "+-0.08"
        assert (fit.high - fit.low) / 2 <= 0.08


def test_the_bracket_s_row_is_the_bracket_of_the_outcomes(folders):
    _, records = read_ledger(folders["bracket"] / "ledger.jsonl")
    tasks, blocks = tasks_of(records), blocks_of(records)
    for row in rows_of(folders["bracket"]):
        m = int(row["m"])
        own = {t.k: t for t in tasks.values() if t.ensemble.m == m and t.seed == 0}
        seen = {k: [blocks[t.id][b].outcome for b in sorted(blocks[t.id])] for k, t in own.items()}
        found = FindBoundary(0.08, 2000).bracket(Ladder(next(iter(own.values())), tuple(range(1, m + 1))), seen)
        assert found.status in ("resolved", "grid")
        assert row["status"] == found.status
        assert (float(row["low"]), float(row["high"])) == pytest.approx((found.low_k / m, found.high_k / m))
        assert (found.high_k - found.low_k) / m <= 0.16 or found.high_k - found.low_k <= 2


def test_the_fixed_grid_has_its_own_instances_and_all_its_cells(folders):
    searched, fixed = (counts_of(folders["fit"], seed) for seed in ("seed", "fixed_seed"))
    for m in (20, 40, 60, 80):
        assert sorted(fixed[m]) == list(dict.fromkeys(round(m * j / 10) for j in range(1, 11)))
        assert {n for _, n in fixed[m].values()} == {50}  # whole blocks
        fit = fit_boundary([k / m for k in fixed[m]], *zip(*fixed[m].values(), strict=True))
        row = next(row for row in rows_of(folders["fit"]) if int(row["m"]) == m)
        assert float(row["fixed grid: k/m at 50 %"]) == pytest.approx(fit.centre)
        assert int(row["fixed grid: trials"]) == 50 * len(fixed[m])
        assert abs(float(row["k/m at 50 %"]) - fit.centre) < 0.1
    common = [(m, k) for m in searched for k in searched[m] if k in fixed[m]]
    assert common
    identity, records = read_ledger(folders["fit"] / "ledger.jsonl")
    assert identity["fixed_seed"] != identity["seed"]
    assert len({task.instance_id for task in tasks_of(records).values()}) == len(tasks_of(records))
    assert all(task.success.early_stop for task in tasks_of(records).values())


@pytest.mark.parametrize(
    ("m", "half", "known"),
    [
        (512, 0.005, "+-0.005"),
        (512, 0.0051, "no"),
        (100, 0.005, "+-0.005"),
        (99, 0.001, "+-1 k"),  # +-0.005 is less than one k
        (150, 1 / 150, "+-1 k"),
        (150, 1.02 / 150, "no"),
        (512, math.nan, "no"),
        (512, math.inf, "no"),
    ],
)
def test_no_more_is_claimed_than_whole_k_allow(m, half, known):
    assert figure._known({"resolution": 0.005}, m, 0.3 - half, 0.3 + half) == known


def test_costs_cover_every_trial_and_are_reported(folders, capsys):
    for folder in folders.values():
        rows = rows_of(folder, "phase_boundary_cost")
        assert [row["part"] for row in rows] == ["search", "fixed grid"]
        for row, seed in zip(rows, ("seed", "fixed_seed"), strict=True):
            counts = counts_of(folder, seed)
            assert (
                int(row["trials"]) == int(row["trials timed"]) == sum(n for c in counts.values() for _, n in c.values())
            )
            assert int(row["cells"]) == sum(map(len, counts.values()))
            assert float(row["seconds"]) > 0
        report = figure.report(folder / "ledger.jsonl")
        share = int(rows[0]["trials"]) / int(rows[1]["trials"])
        assert f"of the fixed grid: {share:.2f} of its trials" in report
        assert "of 4 ladders" in report


def test_a_run_that_was_killed_leaves_no_share_of_time(folders, tmp_path):
    identity, records = read_ledger(folders["fit"] / "ledger.jsonl")
    with Ledger(tmp_path / "ledger.jsonl", identity) as ledger:
        for record in records:
            if not isinstance(record, TimingRecord) or record.part != "search":
                ledger.append(record)
    assert "some runs were killed" in figure.report(tmp_path / "ledger.jsonl")


def test_the_search_alone_and_the_fixed_grid_later(folders, tmp_path, monkeypatch):
    monkeypatch.setitem(experiment.SCALES, "full", TINY)
    PhaseBoundary(tmp_path, fixed=False, workers=1).run()
    ledger = tmp_path / "ledger.jsonl"
    before = ledger.read_bytes()
    assert counts_of(tmp_path, "seed") == counts_of(folders["fit"], "seed")
    assert {row["fixed grid: k/m at 50 %"] for row in rows_of(tmp_path)} == {""}
    assert not (tmp_path / "figures" / "phase_boundary_fixed_grid.csv").exists()
    narrow = matplotlib.image.imread(tmp_path / "figures" / "phase_boundary.png").shape[1]
    PhaseBoundary(tmp_path, workers=1).run()
    assert ledger.read_bytes().startswith(before)
    assert rows_of(tmp_path) == rows_of(folders["fit"])
    assert matplotlib.image.imread(tmp_path / "figures" / "phase_boundary.png").shape[1] == 2 * narrow
    before = ledger.read_bytes()
    PhaseBoundary(tmp_path, workers=1).run()
    assert ledger.read_bytes() == before
    with pytest.raises(InvalidFile, match="method is 'fit' there and 'bracket' here"):
        PhaseBoundary(tmp_path, method="bracket", workers=1).run()
    with pytest.raises(InvalidArgument, match="workers = 0"):
        PhaseBoundary(tmp_path / "new", workers=0).run()
    assert not (tmp_path / "new").exists()


def test_the_heat_map_shows_every_cell_in_its_place(folders):
    identity, records = read_ledger(folders["fit"] / "ledger.jsonl")
    cells = figure._cells(identity, records, "fixed grid")
    shown = SimpleNamespace(pcolormesh=lambda x, y, rates, **_: (x, y, rates))
    x, y, rates = figure._heat_map(shown, identity, cells)
    assert (len(x), len(y)) == (5, 11)
    counts = counts_of(folders["fit"], "fixed_seed")
    for place, m in enumerate((20, 40, 60, 80)):
        assert x[place] < m / 80 < x[place + 1]
        for row in range(10):
            successes, trials = counts[m][round(m * (row + 1) / 10)]
            assert rates[row, place] == successes / trials
    assert y[0] < 1 / 10 < y[1]


def test_drawn_the_same_whatever_the_order_of_the_records(folders, tmp_path):
    identity, records = read_ledger(folders["fit"] / "ledger.jsonl")
    with Ledger(tmp_path / "ledger.jsonl", identity) as ledger:
        for record in reversed(records):
            ledger.append(record)
    files = write(figure.draw(tmp_path / "ledger.jsonl"), tmp_path / "figures")
    assert len(files) == 7
    for file in files:
        assert file.read_bytes() == (folders["fit"] / file.relative_to(tmp_path)).read_bytes()
    with Ledger(tmp_path / "other.jsonl", {"kind": "sweep"}):
        pass
    assert figure.draw(tmp_path / "other.jsonl") is None


def test_an_interrupted_part_is_timed_too_with_its_workers(tmp_path):
    def interrupted(ledger):
        with timed(ledger, "search", 2):
            burn = "import time\nwhile time.process_time() < 0.3: pass"
            subprocess.run([sys.executable, "-c", burn], check=True)
            ledger.append(BlockRecord("t", 1, "0101", None, None))
            raise KeyboardInterrupt

    with Ledger(tmp_path / "ledger.jsonl", {"kind": "test"}) as ledger:
        ledger.append(BlockRecord("t", 0, "111", None, None))
        with pytest.raises(KeyboardInterrupt):
            interrupted(ledger)
        with timed(ledger, "search", 2):
            pass
        assert len(ledger.records) == 3
    record = read_ledger(tmp_path / "ledger.jsonl")[1][-1]
    assert (record.part, record.workers, record.trials) == ("search", 2, 4)
    assert record.processor_seconds >= 0.28  # the system counts in hundredths


def test_columns_without_a_boundary_are_told_apart(tmp_path):
    rows = [
        {"m": 512, "m/n": 0.5, **dict(zip(figure._ENDS, ends, strict=True)), "known": known, **figure._fixed(512, [])}
        for ends, known in (((0.3, 0.296, 0.304), "+-0.005"), ((math.nan,) * 3, "no"))
    ]
    text = figure.agreement({"resolution": 0.005}, rows)
    assert "+-0.005 in k/m in 1 of 2 ladders" in text
    assert "not so well in 1" in text
    assert "fixed grid" not in text
    assert np.isnan(figure._column(rows, "low")[1])
