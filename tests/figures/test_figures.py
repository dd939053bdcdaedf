"""``expander figures``: names, formats, the manifest, and what ``--check`` finds."""

import csv
import json
from importlib.metadata import EntryPoint, entry_points

import numpy as np
import pytest

from expander_theory.base.errors import InvalidFile
from expander_theory.cli import main
from expander_theory.plotting import Drawing, Stale, Table, check_all, draw_all, figure_sources
from expander_theory.plotting.drawings import _manifest as manifest
from expander_theory.plotting.drawings.sources import GROUP
from expander_theory.results.ledger import Ledger
from expander_theory.simulation.cells import cell_rows
from expander_theory.simulation.schedules.schedule import FixedTrials, Ladder
from expander_theory.simulation.sweep import run_sweep
from expander_theory.simulation.trials import Ensemble, Task


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A small sweep, and its ledger."""
    folder = tmp_path_factory.mktemp("figures")
    columns = [Ladder(Task(Ensemble("uniform", m, 40, 4), 1), (1, 4, 8)) for m in (16, 24)]
    with Ledger(folder / "phase" / "ledger.jsonl", {"kind": "phase transition"}) as ledger:
        run_sweep(columns, FixedTrials(25), ledger)
    return folder


@pytest.fixture
def drawn(results, tmp_path):
    """A copy of the results, with figures."""
    (tmp_path / "phase").mkdir()
    (tmp_path / "phase" / "ledger.jsonl").write_bytes((results / "phase" / "ledger.jsonl").read_bytes())
    draw_all(tmp_path)
    return tmp_path


def test_every_source_has_its_module_and_names_who_makes_its_ledger():
    for source in figure_sources().values():
        assert callable(source.draw)
        assert "expander" in source.made_by


def test_formats_and_place(results, tmp_path):
    main(["figures", "phase_diagram", "--results", str(results), "--out", str(tmp_path / "x"), "--format", "svg"])
    files = {path.name for path in (tmp_path / "x").iterdir() if path.suffix != ".lock"}
    assert files == {"phase_diagram.svg", "phase_diagram_cells.csv", "phase_diagram_boundary.csv", "manifest.json"}
    assert (tmp_path / "x" / "phase_diagram.svg").read_bytes().startswith(b"<?xml")


def test_the_same_bytes_in_every_format_on_a_second_run(results, tmp_path):
    for name in ("a", "b"):
        draw_all(results, tmp_path / name, formats=("png", "pdf", "svg"))
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / x).rglob("*.*")} for x in ("a", "b"))
    assert {"phase_diagram.png", "phase_diagram.pdf", "phase_diagram.svg"} < set(first)
    assert first == second


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["phase_diagrm"], "what = 'phase_diagrm': must be a folder or file of results, or one of the figures"),
        (["cost"], "cost: no results; they are made by expander experiment cost"),
        (["--format", "gif"], "format = 'gif': must be one of png, pdf, svg"),
    ],
)
def test_mistakes(results, words, says, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["figures", *words, "--results", str(results), "--out", str(results / "unused")])
    assert says in capsys.readouterr().err


def test_what_cannot_be_drawn_says_who_makes_it(results, tmp_path):
    said = draw_all(results, tmp_path)
    assert "certified: no results; they are made by expander certified" in said


@pytest.fixture
def without_checkout(monkeypatch):
    """The figures of the core alone, as where only the wheel is installed."""
    entries = [entry for entry in entry_points(group=GROUP) if entry.name == "core"]
    absent = EntryPoint("paper", "absent_package.sources:SOURCES", GROUP)
    monkeypatch.setattr("expander_theory.plotting.drawings.sources.entry_points", lambda group: [*entries, absent])
    figure_sources.cache_clear()
    yield
    figure_sources.cache_clear()


def test_without_a_checkout_the_figures_of_ones_own_results_remain(results, tmp_path, without_checkout):
    assert set(figure_sources()) == {"phase_diagram", "boundary_by_degree", "success_rates", "certified_k", "fidelity"}
    (tmp_path / "ledger.jsonl").write_bytes((results / "phase" / "ledger.jsonl").read_bytes())
    said = draw_all(tmp_path)
    assert all(f"{name}.png" in said for name in ("phase_diagram", "boundary_by_degree", "success_rates"))
    assert "certified_k: no results; they are made by expander sweep, expander certify" in said


ROW = {"name": "a", "architecture": "expander", "d": 4, "decoder_values": 64, "fvu": 0.1, "recovered_zero": 0.9}


@pytest.mark.parametrize("way", ["option", "word"])
def test_a_file_of_results_is_drawn_beside_itself(way, tmp_path, capsys):
    (tmp_path / "mine.json").write_text(json.dumps([ROW]))
    (tmp_path / "other.json").write_text("[1]")
    place = str(tmp_path / "mine.json")
    main(["figures", *(["--results", place] if way == "option" else [place]), "--format", "png"])
    assert (tmp_path / "figures" / "fidelity.png").is_file()
    main(["figures", "--check", place])
    (tmp_path / "mine.json").write_text(json.dumps([{**ROW, "fvu": 0.2}]))
    with pytest.raises(SystemExit, match="2"):
        main(["figures", "--check", place])
    assert "fidelity: mine.json holds other records" in capsys.readouterr().err
    main(["figures", str(tmp_path), "--format", "png"])  # the folder: other JSON files are passed over


def test_two_places_of_results_are_refused(results, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["figures", str(results), "--results", str(tmp_path)])
    assert "must be one folder or file" in capsys.readouterr().err


def test_drawing_leaves_the_users_style_alone(results, tmp_path):
    from matplotlib import rcParams

    before = dict(rcParams)
    draw_all(results, tmp_path, names=["phase_diagram"], formats=["png"])
    assert dict(rcParams) == before


def test_fresh_figures_pass_the_check(drawn):
    assert "2 figures" in check_all(drawn, drawn / "figures")
    main(["figures", "--check", "--results", str(drawn)])


def _edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("row", "does not have the checksum that it was written with"),
        ("more", "phase/ledger.jsonl holds other records"),
        ("gone", "are gone or hold nothing to draw"),
        ("csv", "phase_diagram_cells.csv was changed"),
        ("missing", "phase_diagram.png is missing"),
        ("code", "the code makes other data"),
    ],
)
def test_the_check_says_what_is_stale_and_why(drawn, change, reason, monkeypatch, capsys):
    ledger, figures = drawn / "phase" / "ledger.jsonl", drawn / "figures"
    if change == "row":
        _edit(ledger, '"outcome":"1', '"outcome":"0')
    elif change == "more":
        lines = ledger.read_text().splitlines(keepends=True)
        ledger.write_text("".join(lines[:-1]))
    elif change == "gone":
        ledger.unlink()
    elif change == "csv":
        _edit(figures / "phase_diagram_cells.csv", "uniform", "uniforn")
    elif change == "missing":
        (figures / "phase_diagram.png").unlink()
    else:
        other = "expander_theory.plotting.drawings._phase_diagram.cell_rows"
        monkeypatch.setattr(other, lambda cells: [{**row, "rate": 0.25} for row in cell_rows(cells)])
    with pytest.raises(Stale, match=reason):
        check_all(drawn, figures)
    with pytest.raises(SystemExit, match="2"):
        main(["figures", "--check", "--results", str(drawn)])
    assert "phase_diagram: " in capsys.readouterr().err


def test_the_last_digits_of_a_fit_do_not_make_a_figure_stale():
    def drawing(x):
        return Drawing(data={"a": [{"x": x, "name": "b"}]}, tables={"t": Table("T", [{"y": np.float64(x)}], "")})

    assert manifest.data_hash(drawing(0.1)) == manifest.data_hash(drawing(0.1 + 1e-12))
    assert manifest.data_hash(drawing(0.1)) != manifest.data_hash(drawing(0.1001))
    assert manifest.data_hash(drawing(0.1)) != manifest.data_hash(Drawing(data={"a": [{"x": 0.1, "name": "c"}]}))


def test_a_figure_that_was_never_drawn_is_stale(results, tmp_path):
    with pytest.raises(Stale, match="phase_diagram: was not drawn yet"):
        check_all(results, tmp_path)


def test_drawing_one_figure_keeps_the_others_in_the_manifest(drawn):
    entries = manifest.read(drawn / "figures")
    manifest.write(drawn / "figures", entries | {"cost": {"inputs": {}, "data": "", "files": {}, "matplotlib": ""}})
    draw_all(drawn, names=["phase_diagram"])
    assert set(manifest.read(drawn / "figures")) == {"phase_diagram", "boundary_by_degree", "cost"}


def test_a_damaged_manifest_is_refused(drawn):
    (drawn / "figures" / "manifest.json").write_text("{")
    with pytest.raises(InvalidFile, match="damaged"):
        check_all(drawn, drawn / "figures")


def test_the_csv_holds_what_is_plotted(drawn):
    with (drawn / "figures" / "phase_diagram_cells.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["m"]), int(row["k"])) for row in rows] == [(m, k) for m in (16, 24) for k in (1, 4, 8)]
    entry = json.loads((drawn / "figures" / "manifest.json").read_text())["figures"]["phase_diagram"]
    assert set(entry) == {"inputs", "data", "files", "matplotlib"}
