"""The commands over several places, and without a store: trained, stopped, gone on, evaluated."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from expander_theory import InvalidArgument, InvalidFile
from sae_bridge.activations import ActivationStore, stores_in
from sae_bridge.commands.evaluate import Evaluate
from sae_bridge.commands.harvest import Harvest
from sae_bridge.commands.loading import load_by_place, sae_folders
from sae_bridge.commands.sources.harvest_options import HarvestOptions
from sae_bridge.commands.train import Train
from sae_bridge.sae import ExpanderSAE, TopKSAE, load_sae
from sae_bridge.training import Diverged, TrainingRun

NAMES = ["layer0.resid_post", "layer2.resid_post"]
SMALL = {"n": 64, "k": 4, "steps": 12, "batch": 64, "log_every": 5}
LIVE = {"context": 16, "tokens": 1440}


@pytest.fixture(scope="module")
def acts(tmp_path_factory, tiny_model_folder, text_folder):
    """A harvest of two places by the command."""
    out = tmp_path_factory.mktemp("places") / "acts"
    of = {"model": str(tiny_model_folder), "text": (str(text_folder),), "layer": (0, 2)}
    Harvest(out=out, held_out_tokens=160, **of, **LIVE).run()
    return out


@pytest.fixture
def live(tiny_model_folder, text_folder, tmp_path):
    """Training without a store, in windows of 25 contexts."""
    options = HarvestOptions(text=(str(text_folder),), layer=(2,), **LIVE)
    window = 25.5 * 15 * 32 * 4 / 2**30
    return Train(tiny_model_folder, tmp_path / "live", live=True, harvest=options, d=(4,), memory=window, **SMALL)


def weights(folder):
    return load_sae(folder)[0].state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_recipe_is_trained_at_every_place_as_it_is_alone(acts, tmp_path, capsys):
    how = Train(acts, tmp_path / "out", d=(4, 8), **SMALL)
    how.run()
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in shown] == [
        str(tmp_path / "out" / name / run) for name in NAMES for run in ("d4-seed0", "d8-seed0")
    ]
    replace(how, activations=acts / NAMES[1], out=tmp_path / "alone").run()
    for run in ("d4-seed0", "d8-seed0"):
        assert same(weights(tmp_path / "out" / NAMES[1] / run), weights(tmp_path / "alone" / run))
    fields = load_sae(tmp_path / "out" / NAMES[0] / "d4-seed0")[1]
    assert (fields["layer"], fields["hook"]) == (0, "resid_post")
    replace(how, out=tmp_path / "one", d=(4,), place=(NAMES[1],)).run()
    assert [path.name for path in (tmp_path / "one").iterdir()] == NAMES[1:]
    assert same(weights(tmp_path / "one" / NAMES[1]), weights(tmp_path / "alone" / "d4-seed0"))


def test_a_stop_at_the_second_place_goes_on_there(acts, tmp_path, monkeypatch):
    how = Train(acts, tmp_path / "out", d=(4,), **SMALL)
    steps, advance = [], TrainingRun.advance

    def stopped(self, *args):
        steps.append(self.step)
        if len(steps) == 20:
            raise KeyboardInterrupt
        return advance(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "advance", stopped)
        with pytest.raises(KeyboardInterrupt):
            replace(how, checkpoint_every=5).run()
        assert (tmp_path / "out" / NAMES[1] / "checkpoint.safetensors").is_file()
        steps.clear()
        how.run()
        assert steps == list(range(5, 12))
    replace(how, out=tmp_path / "whole").run()
    assert all(same(weights(tmp_path / "out" / name), weights(tmp_path / "whole" / name)) for name in NAMES)


def test_places_beside_one_that_diverges_are_trained(acts, tmp_path, monkeypatch):
    exploded = TrainingRun.exploded
    monkeypatch.setattr(
        TrainingRun, "exploded", lambda self, fvu: self.identity["activations_sha256"] == first or exploded(self, fvu)
    )
    first = ActivationStore(acts / NAMES[0]).sha256
    with pytest.raises(Diverged, match=r"layer0\.resid_post: diverged at step 0"):
        Train(acts, tmp_path / "out", d=(4,), **SMALL).run()
    assert sae_folders([tmp_path / "out"]) == [tmp_path / "out" / NAMES[1]]


def test_what_is_no_option_of_stores_is_refused(acts, tmp_path, live):
    how = Train(acts, tmp_path / "out", d=(4,), **SMALL)
    for change, says in (
        ({"place": ("layer1.resid_post",)}, "must be one of those of .*: layer0.resid_post, layer2.resid_post"),
        ({"place": (NAMES[0], NAMES[0])}, "must not repeat"),
        ({"harvest": HarvestOptions(layer=(2,))}, r"layer = \(2,\): is for --live"),
        ({"harvest": HarvestOptions(no_bos=True)}, "no-bos = True: is for --live"),
        ({"memory": 0.0}, "memory"),
        ({"checkpoint_minutes": 0.0}, "checkpoint_minutes"),
    ):
        with pytest.raises(InvalidArgument, match=says):
            replace(how, **change).run()
    with pytest.raises(InvalidArgument, match="use --layer and --hook"):
        replace(live, place=(NAMES[0],)).run()
    with pytest.raises(InvalidFile, match="several places; name the folder of one: layer0"):
        ActivationStore(acts)


def test_saes_are_judged_at_their_places(acts, tmp_path, capsys):
    Train(acts, tmp_path / "out", d=(4,), dense=True, **SMALL).run()
    capsys.readouterr()
    Evaluate(acts, (tmp_path / "out",), out=tmp_path / "all.json", nulls="coordinates").run()
    shown = capsys.readouterr().out
    rows = json.loads((tmp_path / "all.json").read_text())
    assert [(row["layer"], row["architecture"]) for row in rows] == [
        (layer, kind) for layer in (0, 2) for kind in ("expander", "dense", "null")
    ]
    assert {row["hook"] for row in rows} == {"resid_post"}
    header = next(line for line in shown.splitlines() if "FVU" in line)
    assert [cell.strip() for cell in header.split("|")][1:4] == ["SAE", "layer", "hook"]
    for name in NAMES:
        one = acts / name
        Evaluate(one, (tmp_path / "out" / name,), out=tmp_path / f"{name}.json", nulls="coordinates").run()
        alone = json.loads((tmp_path / f"{name}.json").read_text())
        of_all = [row for row in rows if row["layer"] == int(name[5])]
        assert [{k: v for k, v in row.items() if k not in ("layer", "hook")} for row in of_all] == alone
    assert "layer" not in next(line for line in capsys.readouterr().out.splitlines() if "FVU" in line)


def test_saes_of_no_place_of_the_harvest_are_refused(acts, tmp_path):
    stores = stores_in(acts)
    how = {"other_activations": False, "other_place": False}
    sae = TopKSAE(32, 40, 3)
    for name, fields, says in (
        ("nowhere", {}, "does not say its layer and hook: name the folder of its place, of layer0"),
        ("elsewhere", {"layer": 1, "hook": "resid_post"}, "is of layer1.resid_post, and the activations are of"),
        ("foreign", {"layer": 2, "hook": "resid_post", "activations_sha256": "0"}, "other activations"),
    ):
        sae.save(tmp_path / name, fields)
        with pytest.raises(InvalidFile, match=says):
            load_by_place([tmp_path / name], stores, "cpu", **how)
    with pytest.raises(InvalidArgument, match="needs the folder of one place"):
        load_by_place([tmp_path / "foreign"], stores, "cpu", other_activations=False, other_place=True)
    with pytest.raises(InvalidArgument, match="name at least one"):
        load_by_place([], stores, "cpu", **how)
    found = load_by_place([tmp_path / "foreign"], stores, "cpu", other_activations=True, other_place=False)
    assert list(found) == NAMES[1:]


def test_saes_below_a_folder_are_found_in_the_order_of_their_numbers(tmp_path, capsys):
    from expander_theory import uniform_mask

    for name in ("layer14.resid_post", "layer4.resid_post", "b/d8"):
        ExpanderSAE(uniform_mask(32, 40, 4, seed=0), 3).save(tmp_path / "out" / name, {})
    (tmp_path / "out" / "half").mkdir()
    (tmp_path / "out" / "half" / "metrics.jsonl").write_text("")
    found = [str(path.relative_to(tmp_path / "out")) for path in sae_folders([tmp_path / "out"])]
    assert found == ["b/d8", "layer4.resid_post", "layer14.resid_post"]
    assert "half: left out, its training is not finished" in capsys.readouterr().err
    itself = tmp_path / "out" / "b" / "d8"
    assert sae_folders([itself, tmp_path / "nothing"]) == [itself, tmp_path / "nothing"]


def test_training_without_a_store_is_that_of_the_store_to_rounding(live, acts, tmp_path, capsys):
    live.run()
    replace(live, activations=acts / NAMES[1], out=tmp_path / "stored", live=False, harvest=HarvestOptions()).run()
    ours, theirs = weights(tmp_path / "live"), weights(tmp_path / "stored")
    assert torch.equal(ours["rows"], theirs["rows"])
    torch.testing.assert_close(ours["b_dec"], theirs["b_dec"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours["weight"], theirs["weight"], rtol=1e-2, atol=1e-3)
    capsys.readouterr()
    Evaluate(acts / NAMES[1], (tmp_path / "live", tmp_path / "stored"), nulls="none").run()  # accepted as its own
    assert "FVU" in capsys.readouterr().out
    with pytest.raises(InvalidFile, match="another place"):
        Evaluate(acts / NAMES[0], (tmp_path / "live",)).run()


def test_several_places_without_a_store(live, tmp_path):
    options = replace(live.harvest, layer=(0, 2))
    replace(live, harvest=options, steps=2).run()
    assert sorted(path.name for path in (tmp_path / "live").iterdir()) == NAMES
    replace(live, out=tmp_path / "one", steps=2).run()
    assert same(weights(tmp_path / "live" / NAMES[1]), weights(tmp_path / "one"))


PROGRAM = """
import os, signal, sys
import torch, tyro
from expander_theory.cli import main
from sae_bridge.commands import train
from sae_bridge.commands.sources import streams
from sae_bridge.models import LanguageModel, load_language_model
from sae_bridge.training import TrainingRun

torch.set_num_threads(1)
out, model, text = sys.argv[1:]
load_language_model(model)  # its class is imported once

def child(name, owner=None, method=None, call=0, number=0):
    "The command in a process of its own, which sends itself a signal at a call of a method."
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    count, plain = 0, getattr(owner, method) if owner else None
    def counting(*args):
        nonlocal count
        count += 1
        if count == call:
            os.kill(os.getpid(), number)
        return plain(*args)
    if owner:
        setattr(owner, method, counting)
    sizes = "--context 16 --tokens 1440 --layer 2 --d 4 --n 64 --k 4 --steps 60 --batch 64 --checkpoint-every 7"
    memory = str(25.5 * 15 * 32 * 4 / 2**30)
    words = ["sae", "train", model, f"{out}/{name}", "--live", "--text", text, "--memory", memory, *sizes.split()]
    try:
        main(words)
    except SystemExit as end:
        os._exit(end.code)
    os._exit(0)

assert child("whole") == 0
assert child("stopped", TrainingRun, "advance", 23, signal.SIGTERM) == 143
assert child("stopped", TrainingRun, "advance", 15, signal.SIGKILL) == -signal.SIGKILL
assert child("stopped", LanguageModel, "activations", 14, signal.SIGTERM) in (143, -signal.SIGTERM)
assert child("stopped") == 0
"""


def test_signals_and_kills_change_nothing_without_a_store(tiny_model_folder, text_folder, tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, tmp_path, tiny_model_folder, text_folder]
    quiet = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stderr
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    assert not (tmp_path / "stopped" / "checkpoint.safetensors").exists()
