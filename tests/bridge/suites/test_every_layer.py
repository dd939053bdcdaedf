"""A suite of packed SAEs for all layers: one pass, resumable, small, and judged beside its null."""

import json
from dataclasses import replace

import pytest
import torch

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.cli import main
from sae_bridge.activations import ActivationStore, Harvest
from sae_bridge.evaluation import reconstruction
from sae_bridge.packing import Packing
from sae_bridge.sae import load_sae
from sae_bridge.suites import EveryLayer, every_layer
from sae_bridge.training import Training


@pytest.fixture(scope="module")
def what(text_folder, tiny_model_folder):
    return EveryLayer(
        model=str(tiny_model_folder),
        text=(str(text_folder),),
        layers=(0, 2),
        harvest=Harvest(context=16, train_contexts=20, held_out_contexts=4),
        training=Training(d=4, n=48, k=3, encoder="omp", supports="momentum", steps=6),
        batch=32,
        packing=Packing("int8"),
    )


@pytest.fixture(scope="module")
def made(what, tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    return folder, every_layer(what, folder / "out", folder / "work", progress=False)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_holds_the_packed_files_and_their_table(made):
    folder, rows = made
    files = contents(folder / "out")
    assert files.keys() == {"layer0.resid_post.safetensors", "layer2.resid_post.safetensors", "table.json", "README.md"}
    assert [row.bytes for row in rows] == [len(files[f"{row.place}.safetensors"]) for row in rows]
    assert json.loads(files["table.json"]) == [json.loads(json.dumps(vars(row))) for row in rows]
    assert f"{sum(row.bytes for row in rows):,} bytes" in files["README.md"].decode()


def test_rows_measure_what_the_files_hold(made):
    folder, rows = made
    for row in rows:
        store = ActivationStore(folder / "work" / "activations" / row.place)
        sae, fields = load_sae(folder / "out" / f"{row.place}.safetensors")
        assert (fields["layer"], fields["hook"]) == (store.description["layer"], store.description["hook"])
        assert reconstruction(sae, store, progress=False).fvu == pytest.approx(row.packed["fvu"])
        whole, _ = load_sae(folder / "work" / "saes" / row.place)
        assert not torch.equal(whole.weight, sae.weight)
        assert reconstruction(whole, store, progress=False).fvu == pytest.approx(row.trained["fvu"])
        rest = store.rows("held_out") - store.rows("train").double().mean(dim=0)
        kept = rest.abs().topk(3, dim=1).values.square().sum(dim=1)
        variance = (store.rows("held_out").double() - store.rows("held_out").double().mean(dim=0)).square().sum()
        null = (rest.square().sum(dim=1) - kept).sum() / variance
        assert float(null) == pytest.approx(row.null["fvu"], rel=0.05)


def test_stopped_between_layers_it_goes_on_to_the_same_bytes(what, made, tmp_path):
    def stop(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        every_layer(what, tmp_path / "out", tmp_path / "work", progress=False, done=stop)
    assert contents(tmp_path / "out").keys() == {"layer0.resid_post.safetensors"}
    again = every_layer(what, tmp_path / "out", tmp_path / "work", progress=False)
    assert again == made[1]
    assert contents(tmp_path / "out") == contents(made[0] / "out")


def test_a_second_run_measures_nothing(what, made, monkeypatch):
    def measured(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setitem(every_layer.__globals__, "measured_packings", measured)
    assert every_layer(what, made[0] / "out", made[0] / "work", progress=False) == made[1]
    with pytest.raises(AssertionError, match="measured again"):  # other bits are another file
        every_layer(replace(what, packing=Packing("int4")), made[0] / "other", made[0] / "work", progress=False)


def test_other_files_and_other_recipes_are_refused(what, made, tmp_path):
    folder, _ = made
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidFile, match=r"notes\.txt: is no file of this suite; choose another folder"):
        every_layer(what, tmp_path, folder / "work", progress=False)
    longer = replace(what, training=replace(what.training, steps=7))
    with pytest.raises(InvalidFile, match="steps is 6 there and 7 here"):
        every_layer(longer, tmp_path / "out", folder / "work", progress=False)
    with pytest.raises(InvalidArgument, match=r"work.*must be another folder"):
        every_layer(what, folder / "work", folder / "work", progress=False)


def test_the_command(text_folder, tiny_model_folder, tmp_path, capsys):
    options = ["--layer", "1", "3", "--hook", "resid_pre", "--context", "16", "--tokens", "320", "--steps", "3"]
    sizes = ["--held-out-tokens", "64", "--n", "40", "--k", "2", "--d", "4", "--batch", "32"]
    where = ["--model", str(tiny_model_folder), "--text", str(text_folder)]
    main(["sae", "suite", str(tmp_path / "small"), *options, *sizes, *where])
    said = capsys.readouterr().out
    assert "layer1.resid_pre: " in said
    assert "# 2 SAEs, " in said
    assert (tmp_path / "small-work").is_dir()
    assert load_sae(tmp_path / "small" / "layer3.resid_pre.safetensors")[0].n == 40
    two = [*options[:3], "--hook", "mlp_in", "mlp_out", *options[5:]]
    with pytest.raises(SystemExit):
        main(["sae", "suite", str(tmp_path / "small"), *two, *sizes, *where])
    assert "must be one for a suite of layers" in capsys.readouterr().err
