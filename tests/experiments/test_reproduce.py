"""The whole road at a tiny scale, on a small random model: stages, resume, figures from stored data alone."""

import csv
import hashlib
import json

import matplotlib.image
import pytest
from support.suite_setting import TINY_TRUTH, tiny_setting

from expander_theory.cli import main
from expander_theory.plotting import figure_sources
from expander_theory.results import BlockRecord, records_of
from expander_theory.results.ledger import read_ledger
from expander_theory.results.ledger_format import read_contents
from experiments.theory import cost, identifiability, presets, synthetic_study
from experiments.theory.presets import PhaseGrid, Preset
from paper_figures.claims import CLAIMS
from sae_bridge.suites import TRUTH_SCALES, presets as sae_presets

TINY = Preset(
    name="quick",
    phase=PhaseGrid(
        n=40, m_over_n=(0.4, 0.7), k_over_m=(0.1, 0.3, 0.5), d=4, degrees=(2, 4), trials=12, certified_draws=2
    ),
    expansion_seconds=0.2,
    masks=((60, 100, 4),),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model_folder, text_folder):
    """Results of the tiny preset, drawn."""
    patch = pytest.MonkeyPatch()
    out = tmp_path_factory.mktemp("reproduce") / "results"
    with patch.context() as context:
        _offline(context, tiny_model_folder, text_folder)
        main(["reproduce", "--preset", "quick", "--out", str(out), "--workers", "2"])
    return out


def _offline(patch, model_folder, text_folder):
    patch.setitem(presets.PRESETS, "quick", TINY)
    patch.setattr(sae_presets, "QUICK", tiny_setting(text_folder, model_folder, seeds=(0,)))
    patch.setitem(cost.SCALES, "quick", cost.Scale((64, 128, 4), (32, 64, 128), (64, 128, 256), (2, 4, 8), 4, 8, 2))
    patch.setitem(identifiability.SCALES, "quick", identifiability.Scale(5, 3, 1, (4, 6, 9), (1.0, 1.4), 1))
    small = synthetic_study.Scale(32, 64, (4, 8), (2, 4), (0.0, 0.05), 5, 5)
    patch.setitem(synthetic_study.SCALES, "quick", small)
    patch.setitem(TRUTH_SCALES, "quick", TINY_TRUTH)
    patch.setattr("sae_bridge.models.resources.fetch", lambda _: None)


OF_NO_CLAIM = ("pursuit_recipe", "structures", "solver_boundaries", "packed_frontier")
FIGURES = [
    name
    for name, source in figure_sources().items()
    if name not in OF_NO_CLAIM
    and (source.made_by.startswith("expander experiment") or "phase/ledger.jsonl" in source.ledgers)
]
FIGURES += ["phase_diagram", "synthetic_study"]


def test_every_figure_and_table_is_there(folder):
    for name in FIGURES:
        image = matplotlib.image.imread(folder / "figures" / f"{name}.png")
        assert min(image.shape[:2]) > 200
        assert image[..., :3].std() > 0.02
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    for name in ("storage_frontier", "headline_ratio", "masks", "controls", "cost"):
        assert (folder / "figures" / "tables" / f"{name}.md").read_text().startswith("# ")


def test_the_report_judges_every_claim(folder):
    page = (folder / "report" / "index.html").read_text()
    for claim in CLAIMS:
        assert claim.text in page
        assert claim.finding(folder).verdict != "not run"
    assert "eps_2k" in page or "k = " in page
    assert list((folder / "certificates").glob("*.json"))


def test_the_manifest_names_what_came_from_what(folder):
    manifest = json.loads((folder / "figures" / "manifest.json").read_text())["figures"]
    assert set(manifest) == {*FIGURES, "mask_geometry"}
    for entry in manifest.values():
        for name, digest in entry["files"].items():
            assert hashlib.sha256((folder / "figures" / name).read_bytes()).hexdigest() == digest
        for name, digest in entry["inputs"].items():
            assert read_contents(folder / name).sha256 == digest


def test_the_plotted_data_are_the_ledger_s(folder):
    with (folder / "figures" / "phase_diagram_cells.csv").open() as file:
        rows = list(csv.DictReader(file))
    _, records = read_ledger(folder / "phase" / "ledger.jsonl")
    successes = sum(record.outcome.count("1") for record in records_of(records, BlockRecord))
    assert sum(int(row["successes"]) for row in rows) == successes
    assert {row["trials"] for row in rows} == {"25"}  # whole blocks
    assert len(rows) == 5 * 2 * 3  # two degrees, biregular, polynomial, dense; two m; three k


def test_figures_are_drawn_from_stored_results_alone_and_to_the_same_bytes(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in (folder / "figures").rglob("*.*")}
    for name in ("expander_theory.simulation.sweep.run_sweep", "sae_bridge.training.training_run.TrainingRun.advance"):
        monkeypatch.setattr(name, lambda *_: pytest.fail("simulated or trained"))
    main(["figures", "--results", str(folder)])
    assert {path.name: path.read_bytes() for path in (folder / "figures").rglob("*.*")} == before


def test_a_second_run_does_nothing_again(folder, monkeypatch, tiny_model_folder, text_folder, capsys):
    _offline(monkeypatch, tiny_model_folder, text_folder)
    for name in ("expander_theory.plotting.draw_all", "paper_figures.report.report.write_report"):
        monkeypatch.setattr(name, lambda *_: pytest.fail("drawn again"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    main(["reproduce", "--out", str(folder), "--workers", "1"])
    assert "frontier: " in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_other_settings_in_the_same_folder_are_refused(folder, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", "--preset", "full", "--out", str(folder)])
    assert stopped.value.code == 2
    assert "belongs to another experiment" in capsys.readouterr().err


def test_partial_results_draw_what_they_can(folder, tmp_path, capsys):
    (tmp_path / "phase").mkdir()
    (tmp_path / "phase" / "ledger.jsonl").write_bytes((folder / "phase" / "ledger.jsonl").read_bytes())
    main(["figures", "--results", str(tmp_path)])
    assert "frontier: no results" in capsys.readouterr().out
    assert (tmp_path / "figures" / "phase_diagram.png").exists()


def test_the_bridge_from_the_command_line(tmp_path, tiny_model_folder, text_folder, capsys):
    acts, out = tmp_path / "acts", tmp_path / "sae"
    common = ["--model", str(tiny_model_folder), "--text", str(text_folder), "--context", "16"]
    main(["sae", "harvest", str(acts), *common, "--tokens", "900", "--held-out-tokens", "100", "--layer", "2"])
    assert "layer 2, m = 32" in capsys.readouterr().out
    main(["sae", "train", str(acts), str(out), "--d", "4", "--n", "64", "--k", "4", "--steps", "5", "--batch", "64"])
    assert "256 learned decoder values" in capsys.readouterr().out
    main(["sae", "eval", str(acts), str(out), "--out", str(tmp_path / "eval.json")])
    assert "recovered (mean)" in capsys.readouterr().out
    assert json.loads((tmp_path / "eval.json").read_text())[0]["n"] == 64
    other = tmp_path / "other"
    main(["sae", "harvest", str(other), *common, "--tokens", "900", "--held-out-tokens", "100", "--layer", "1"])
    with pytest.raises(SystemExit, match="2"):
        main(["sae", "eval", str(other), str(out)])
    assert "layer is 2 there and 1 here" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):  # other text is accepted, another layer named
        main(["sae", "eval", str(other), str(out), "--other-activations"])
    assert "layer is 2 there and 1 here" in capsys.readouterr().err
    main(["sae", "eval", str(other), str(out), "--other-place"])
    with pytest.raises(SystemExit, match="2"):
        main(["sae", "train", str(acts), str(tmp_path / "x"), "--device", "nonsense"])
    assert "device = 'nonsense'" in capsys.readouterr().err
    main(["measure", str(out / "dictionary.safetensors")])
    assert "k certified by Babel" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sae", "harvest", "{tmp}/a", "--model", "{tmp}/absent"], "no such model folder"),
        (["sae", "harvest", "{tmp}/a", "--model", "{model}", "--text", "{tmp}/absent.txt"], "no such text file"),
        (["sae", "harvest", "{tmp}/a", "--model", "{model}", "--text", "{text}", "--context", "64"], "64 tokens"),
        (["sae", "harvest", "{tmp}/a", "--model", "{model}", "--text", "{text}", "--context", "1"], "context = 1"),
        (["sae", "harvest", "{tmp}/a", "--model", "{model}", "--text", "{text}", "--tokens", "0"], "tokens = 0"),
        (["sae", "train", "{tmp}/absent", "{tmp}/out"], "expander sae harvest"),
        (["sae", "eval", "{tmp}/absent", "{tmp}/out"], "expander sae harvest"),
    ],
)
def test_mistakes_on_the_bridge(words, says, tmp_path, tiny_model_folder, text_folder, capsys):
    filled = [w.format(tmp=tmp_path, model=tiny_model_folder, text=text_folder / "doc00.txt") for w in words]
    with pytest.raises(SystemExit) as stopped:
        main(filled)
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert says in error
    assert "Traceback" not in error


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_says_what_it_shows_and_every_figure_has_a_legend(folder, name):
    drawing = figure_sources()[name].found(folder)[1]
    for figure in drawing.figures.values():
        shown = [axis for axis in figure.axes if axis.axison and axis.get_label() != "<colorbar>"]
        assert shown
        rows_are_named = name in ("controls", "better_training", "feature_scores")  # by their ticks
        for axis in shown:
            for kind in ("x",) if rows_are_named else ("x", "y"):
                group = getattr(axis, f"get_shared_{kind}_axes")().get_siblings(axis)
                assert any(getattr(other, f"get_{kind}label")() for other in group), (name, kind)
        legends = [*figure.legends, *(axis.get_legend() for axis in figure.axes)]
        assert rows_are_named or any(legend is not None and legend.get_texts() for legend in legends)
        texts = [text.get_text() for legend in legends if legend is not None for text in legend.get_texts()]
        assert all(texts)
