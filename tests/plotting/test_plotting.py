"""Drawings of one's own results: functions on objects and files, and what they say of other input."""

import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import pyplot
from support.suite_records import record

from expander_theory import (
    InvalidArgument,
    InvalidFile,
    plot_boundary,
    plot_certified,
    plot_frontier,
    plot_phase_diagram,
    plot_recovery_curves,
)
from expander_theory.dictionaries import Ensemble
from expander_theory.results import Ledger
from expander_theory.simulation import FixedTrials, Ladder, Task, boundaries, cell_rows, run_certificates, run_sweep

RATES = [{"k": k, "trials": 10, "successes": s, "low": s / 20, "high": 1.0} for k, s in ((4, 2), (1, 10), (2, 8))]
CERTIFICATE = {
    "format": "expander-certificate",
    "dictionary": {"m": 16, "n": 40, "d": 4},
    "claims": [
        {"goal": "OMP", "k": 0, "theorem": "OMP-2"},
        {"goal": "OMP", "k": 2, "theorem": "OMP-3"},
        {"goal": "l1", "k": 0, "theorem": "L1-ERC"},
    ],
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """(folder, cells) of a sweep of two kinds of dictionaries, with certified ones."""
    folder = tmp_path_factory.mktemp("sweep")
    ensembles = [Ensemble("uniform", m, 40, 4) for m in (16, 24)] + [Ensemble("dense", 16, 40, 16, "gaussian")]
    with Ledger(folder / "ledger.jsonl", {"kind": "sweep"}) as ledger:
        found = run_sweep([Ladder(Task(e, 1), (1, 3, 6, 9, 14)) for e in ensembles], FixedTrials(40), ledger)
        run_certificates(ensembles, 2, ledger, progress=False)
    return folder, found


@pytest.fixture
def ax():
    axes = pyplot.subplots()[1]
    yield axes
    pyplot.close("all")


def drawn(axes):
    """Lines with points, by label."""
    return {line.get_label(): line for line in axes.lines if len(line.get_xdata())}


def test_a_phase_diagram_shows_every_rate_and_takes_a_ledger_or_its_cells(sweep, ax):
    folder, found = sweep
    assert plot_phase_diagram(folder, ax=ax, family="uniform") is ax
    shown = np.concatenate([np.ravel(mesh.get_array()) for mesh in ax.collections if mesh.get_array() is not None])
    assert sorted(shown) == sorted(cell.rate for cell in found if cell.task.ensemble.family == "uniform")
    assert "certified for every code (Babel; median over drawn dictionaries)" in drawn(ax)
    assert ax.get_xlabel() == "undersampling $m/n$  ($n = 40$)"
    other = plot_phase_diagram([cell for cell in found if cell.task.ensemble.d == 4], boundary=[], colorbar=False)
    assert other is not ax
    assert not drawn(other)


def test_a_phase_diagram_of_several_kinds_says_how_to_choose(sweep, ax):
    with pytest.raises(InvalidArgument, match=r"uniform, d = 4; dense Gaussian.*choose one by family= and d="):
        plot_phase_diagram(sweep[0], ax=ax)
    with pytest.raises(InvalidArgument, match="family = biregular: must be one of these results: uniform"):
        plot_phase_diagram(sweep[0], ax=ax, family="biregular")


def test_a_boundary_is_drawn_for_each_kind_from_ledger_cells_and_rows(sweep, ax):
    folder, found = sweep
    rows = [row for row in boundaries(found) if row["status"] == "fitted"]
    plot_boundary(folder, ax=ax, weak_threshold=True)
    lines = drawn(ax)
    assert set(lines) == {"uniform, $d = 4$", "dense Gaussian", "l1, weak threshold"}
    uniform = [row for row in rows if row["family"] == "uniform"]
    assert list(lines["uniform, $d = 4$"].get_ydata()) == [row["k/m at 50 %"] for row in uniform]
    assert {*drawn(plot_boundary(found))} == {*drawn(plot_boundary(rows))} == {*lines} - {"l1, weak threshold"}
    (line,) = drawn(plot_boundary(uniform, color="r", label="mine")).values()
    assert (line.get_color(), line.get_label()) == ("r", "mine")


def test_recovery_curves_have_one_line_for_each_size_and_kind(sweep, ax):
    plot_recovery_curves(sweep[0], ax=ax)
    lines = drawn(ax)
    assert set(lines) == {"uniform, $d = 4$, $m = 16$", "uniform, $d = 4$, $m = 24$", "dense Gaussian"}
    rows = [row for row in cell_rows(sweep[1]) if row["m"] == 24]
    assert list(lines["uniform, $d = 4$, $m = 24$"].get_ydata()) == [row["rate"] for row in rows]
    assert ax.get_ylabel() == "share recovered (exact support)"


def test_recovery_curves_of_planted_codes_from_records_and_from_the_file_of_recover(tmp_path, ax):
    (tmp_path / "rates.json").write_text(json.dumps(RATES))
    for given in (RATES, tmp_path / "rates.json"):
        axes = plot_recovery_curves(given, certified=3)
        line = drawn(axes)["planted codes"]
        assert list(line.get_xdata()) == [1, 2, 4]
        assert list(line.get_ydata()) == [1.0, 0.8, 0.2]
        assert drawn(axes)["certified for every code"].get_xdata()[0] == 3


def test_certified_beside_empirical_from_a_sweep(sweep, ax):
    folder, found = sweep
    plot_certified(folder, ax=ax)
    lines = drawn(ax)
    fitted = [row for row in boundaries(found) if row["family"] == "uniform" and row["status"] == "fitted"]
    seen = lines["uniform, $d = 4$: recovered at rate 1/2 (fitted)"]
    assert list(seen.get_ydata()) == [row["m"] * row["k/m at 50 %"] for row in fitted]
    assert ax.get_xlabel() == "$m$  ($n = 40$)"
    proved = lines["uniform, $d = 4$: proved for every code (Babel; median over drawn dictionaries)"]
    assert proved.get_linestyle() == "--"


def test_certificates_give_the_best_claim_of_each_goal(tmp_path, ax):
    (tmp_path / "c.json").write_text(json.dumps(CERTIFICATE))
    for given in (CERTIFICATE, tmp_path / "c.json", [tmp_path / "c.json"]):
        lines = drawn(plot_certified(given))
        assert {label: line.get_ydata()[0] for label, line in lines.items()} == {"proved: OMP": 2, "proved: l1": 0.7}


def test_a_frontier_joins_expanders_and_takes_files_or_records(tmp_path, ax):
    sizes = {"d8": 8, "d4": 4, "dense": 512}
    rows = [
        {"name": f"{name}-{seed}", "variant": name, "architecture": "dense" if name == "dense" else "expander", "d": d,
         "decoder_values": 64 * d, "fvu": 1 / d + 0.01 * seed, "fvu_interval": None, "recovered_zero": None}
        for name, d in sizes.items() for seed in (0, 1)
    ]  # fmt: skip
    (tmp_path / "eval.json").write_text(json.dumps(rows))
    with Ledger(tmp_path / "ledger.jsonl", {"kind": "mine"}) as ledger:
        for name, d in sizes.items():
            for seed in (0, 1):
                ledger.append(record(name, seed, 1 - 1 / d - 0.01 * seed, d=None if name == "dense" else d, n=64))
    for given in (rows, tmp_path / "eval.json", tmp_path / "ledger.jsonl"):
        joined = plot_frontier(given, y="fvu").lines[0]
        assert list(joined.get_xdata()) == [256, 512]
        assert list(joined.get_ydata()) == pytest.approx([0.255, 0.13])
    plot_frontier(rows, ax=ax, y="fvu", x="decoder_values")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learned decoder values", "FVU")
    assert ax.get_legend_handles_labels()[1] == ["expander, $d$ at each point", "dense"]
    with pytest.raises(InvalidArgument, match="must have decoder_values and recovered_zero somewhere"):
        plot_frontier(rows, ax=ax)
    with pytest.raises(InvalidArgument, match="a record without 'bytes_packed'"):
        plot_frontier(rows, ax=ax, x="bytes_packed", y="fvu")


PLOTS = (plot_phase_diagram, plot_boundary, plot_recovery_curves, plot_certified, plot_frontier)


@pytest.mark.parametrize("plot", PLOTS)
def test_other_input_is_refused_with_what_is_allowed(plot, tmp_path, ax):
    for wrong in (3, [], [object()]):
        with pytest.raises(InvalidArgument, match="must be"):
            plot(wrong, ax=ax)
    with pytest.raises(InvalidFile, match="no such"):
        plot(tmp_path / "absent.jsonl", ax=ax)
    with Ledger(tmp_path / "other.jsonl", {"kind": "mine"}) as ledger:
        ledger.append({"x": 1})
    with pytest.raises(InvalidFile, match=r"holds no|certifies nothing"):
        plot(tmp_path / "other.jsonl", ax=ax)


def test_other_axes_are_refused(sweep):
    with pytest.raises(InvalidArgument, match="ax = a Figure: must be a matplotlib Axes"):
        plot_boundary(sweep[0], ax=pyplot.figure())


def test_importing_does_not_load_matplotlib_and_drawing_without_it_says_how_to_install_it():
    code = """
import sys
import expander_theory.plotting as plotting
from expander_theory.base import MissingResource
assert "matplotlib" not in sys.modules and "pandas" not in sys.modules
sys.modules["matplotlib"] = sys.modules["pandas"] = None  # as if they were not installed
for call, extra in ((plotting.plot_recovery_curves, "plot"), (plotting.to_dataframe, "frames")):
    try:
        call([{"k": 1, "low": 0, "high": 1, "rate": 1}])
    except MissingResource as error:
        assert f"pip install 'expander-theory[{extra}]'" in str(error), error
    else:
        raise AssertionError(call)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
