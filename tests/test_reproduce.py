"""The whole road at a tiny scale, on a small random model: stages, resume, figures from stored data alone."""

import csv
import hashlib
import json

import matplotlib.image
import pytest

from expander_theory.cli import main
from expander_theory.ledger import read_ledger
from expander_theory.ledger_format import read_contents
from experiments import presets
from experiments.presets import PhaseGrid, Planted, Preset
from experiments.sae_presets import Comparison
from sae_bridge.activations import Harvest
from sae_bridge.recipe import Training

TINY = Preset(
    name="quick",
    phase=PhaseGrid(n=40, m_over_n=(0.4, 0.7), k_over_m=(0.1, 0.3, 0.5), d=4, trials=12, certified_draws=2),
    saes=Comparison(
        model="tiny",
        text=("tiny",),
        harvest=Harvest(layer=1, context=16, train_contexts=90, held_out_contexts=10),
        degrees=(None, 8, 4, 2),
        recipe=Training(n=64, k=4, steps=6, dead_after=500),
        batch=128,
        rates=(1e-3, 4e-3),
        rate_steps=4,
    ),
    planted=Planted(ks=(1, 2, 8), trials=6),
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
    from sae_bridge.language_models import load_language_model
    from sae_bridge.text import TextSource

    patch.setitem(presets.PRESETS, "quick", TINY)
    patch.setattr("sae_bridge.resources.fetch", lambda _: None)
    stages = "experiments.sae_comparison"
    patch.setattr(f"{stages}.load_language_model", lambda *_, **__: load_language_model(str(model_folder)))
    patch.setattr(f"{stages}.TextSource", lambda _: TextSource([str(text_folder)]))


FIGURES = ["phase_diagram", "frontier", "meeting_point"]


def test_every_figure_and_table_is_there(folder):
    for name in FIGURES:
        image = matplotlib.image.imread(folder / "figures" / f"{name}.png")
        assert min(image.shape[:2]) > 400
        assert image[..., :3].std() > 0.05
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    for name in ("saes", "meeting_point", "masks"):
        assert (folder / "figures" / "tables" / f"{name}.md").read_text().startswith("# ")
    table = (folder / "figures" / "tables" / "saes.md").read_text()
    for column in ("CE clean", "CE zero", "CE mean", "CE SAE", "decoder values"):
        assert column in table
    assert table.count("seed0") == 4


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
    successes = sum(record["outcome"].count("1") for record in records if "outcome" in record)
    assert sum(int(row["successes"]) for row in rows) == successes
    assert {row["trials"] for row in rows} == {"25"}  # whole blocks
    assert len(rows) == 12


def test_the_meeting_point_shows_theory_beside_practice(folder):
    table = (folder / "figures" / "tables" / "meeting_point.csv").read_text()
    rows = list(csv.DictReader(table.splitlines()))
    assert {row["values"] for row in rows} == {"trained", "signs", "gaussian"}
    trained = [row for row in rows if row["values"] == "trained"]
    assert [row["dictionary"] for row in trained] == ["dense", "d = 8", "d = 4", "d = 2"]
    for row in rows:
        for column in ("C mean", "mu", "k certified (Babel)", "k=1"):
            assert row[column] != ""
        if int(row["k certified (Babel)"]) >= 1:
            assert float(row["k=1"]) == 1.0


def test_figures_are_drawn_from_stored_results_alone_and_to_the_same_bytes(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in (folder / "figures").rglob("*.*")}
    for name in ("expander_theory.sweep.run_sweep", "sae_bridge.trainee.Trainee.advance"):
        monkeypatch.setattr(name, lambda *_: pytest.fail("simulated or trained"))
    main(["figures", "--results", str(folder)])
    assert {path.name: path.read_bytes() for path in (folder / "figures").rglob("*.*")} == before


def test_a_second_run_does_nothing_again(folder, monkeypatch, tiny_model_folder, text_folder):
    _offline(monkeypatch, tiny_model_folder, text_folder)
    ledgers = [path for path in folder.rglob("*.jsonl") if path.name != "reproduce.jsonl"]
    before = {path: path.read_bytes() for path in ledgers}
    main(["reproduce", "--out", str(folder), "--workers", "1"])
    assert {path: path.read_bytes() for path in ledgers} == before


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
    assert "trained on other activations" in capsys.readouterr().err
    main(["sae", "eval", str(other), str(out), "--other-activations"])
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
