"""The commands on transcoders, from a harvest to the table."""

import json
from pathlib import Path

import pytest
from support.pairs import harvest_places

from expander_theory import InvalidArgument, InvalidFile, save_mask, uniform_mask
from sae_bridge.commands.transcoders.evaluate import EvaluateTranscoders
from sae_bridge.commands.transcoders.train import Transcode
from sae_bridge.models.language_models import load_language_model
from sae_bridge.transcoders import load_transcoder, paired_store, transcoder_map, transcoder_rows

SMALL = {"n": 40, "k": 4, "steps": 30, "batch": 64, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def acts(tiny_model_folder, text_folder, tmp_path_factory):
    model = load_language_model(str(tiny_model_folder))
    places = [(layer, hook) for layer in (1, 2) for hook in ("mlp_in", "mlp_out")]
    return harvest_places(model, text_folder, tmp_path_factory.mktemp("acts"), *places)


def test_training_and_evaluation(acts, tmp_path, capsys):
    save_mask(uniform_mask(32, 24, 3, seed=5), tmp_path / "mine.safetensors")
    out = tmp_path / "out"
    more = {"d": (4,), "dense": True, "mask": (tmp_path / "mine.safetensors",)}
    Transcode(acts, out, layer=1, skip=True, **more, **SMALL).run()
    assert "32 -> 32, n = 24, k = 4, 72 decoder values" in capsys.readouterr().out
    folders = tuple(out / name for name in ("dense-seed0", "d4-seed0", "mine-seed0"))
    with pytest.raises(InvalidFile, match="several layers of mlp_in"):
        Transcode(acts, tmp_path / "x", **SMALL).run()
    EvaluateTranscoders(acts, folders, out=tmp_path / "table.json").run()
    shown = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads((tmp_path / "table.json").read_text())}
    kinds = [row["kind"] for row in rows.values()]
    assert kinds == ["trained"] * 3 + ["mean", "linear", "inputs"] + ["untrained"] * 3 + ["oracle"]
    assert all(name in shown for name in rows)
    assert rows["best linear map"]["values"] == 33 * 32
    assert set(rows["mean output"]["fidelity"]) > {"recovered_zero", "recovered_mean", "kl"}
    store = paired_store(acts, (1, "mlp_in"), (1, "mlp_out"))
    one = transcoder_map("it", load_transcoder(folders[1])[0])
    assert rows[str(folders[1])]["fvu"] == transcoder_rows([one], store, progress=False)[0].fvu
    with pytest.raises(InvalidFile, match=r"table\.json"):
        EvaluateTranscoders(acts, folders, out=tmp_path / "table.json").run()
    with pytest.raises(InvalidFile, match="is of another place: input_layer is 1 there and 2 here"):
        EvaluateTranscoders(acts, folders, layer=2).run()


def test_several_layers(acts, tmp_path, capsys):
    Transcode(acts, tmp_path / "out", cross_layer=(1, 2), d=(4,), **SMALL).run()
    assert "64 -> 64, n = 80, k = 4, 480 decoder values" in capsys.readouterr().out
    EvaluateTranscoders(acts, (tmp_path / "out",), out=tmp_path / "table.json").run()
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [row["kind"] for row in rows] == ["trained", "mean", "linear", "inputs", "oracle"]
    assert all(len(row["fvu_by_layer"]) == 2 for row in rows)
    assert "by layer" in capsys.readouterr().out
    Transcode(acts, tmp_path / "single", layer=1, d=(4,), **SMALL).run()
    with pytest.raises(InvalidArgument, match="evaluate others by themselves"):
        EvaluateTranscoders(acts, (tmp_path / "out", tmp_path / "single")).run()


def test_options_that_do_not_go_together(acts):
    with pytest.raises(InvalidArgument, match="must not be given with cross_layer"):
        Transcode(acts, Path("x"), cross_layer=(1, 2), layer=1).run()
    with pytest.raises(InvalidArgument, match="must not repeat"):
        Transcode(acts, Path("x"), d=(4, 4)).run()
    with pytest.raises(InvalidArgument, match="memory"):
        Transcode(acts, Path("x"), memory=0).run()
    with pytest.raises(InvalidArgument, match="at least one folder"):
        EvaluateTranscoders(acts, ()).run()
