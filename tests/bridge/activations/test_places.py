"""Several places in one pass: the bytes of single harvests, resumed together, one text for all."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace

import pytest
import torch

from expander_theory import InvalidArgument, InvalidFile
from sae_bridge.activations import (
    ActivationStore,
    Harvest,
    LiveStream,
    StoredStream,
    TextSource,
    TokenPolicy,
    estimate,
    harvest,
    harvest_places,
    stores_in,
)
from sae_bridge.commands.harvest import Harvest as Command

WHAT = Harvest(context=16, train_contexts=45, held_out_contexts=10, policy=TokenPolicy(outlier_ratio=1.2))
PLACES = [(0, "resid_post"), (2, "resid_pre"), (2, "resid_post")]
NAMES = ["layer0.resid_post", "layer2.resid_pre", "layer2.resid_post"]


@pytest.fixture
def run(tiny_store, text_folder, tmp_path, monkeypatch):
    """A function that harvests places, eight contexts a shard, into a folder."""
    monkeypatch.setattr("sae_bridge.activations._shards._MOST_CONTEXTS", 8)
    text = TextSource([str(text_folder)])
    return lambda places=PLACES, what=WHAT, name="acts", model=tiny_store[0]: harvest_places(
        model, text, what, places, tmp_path / name, progress=False
    )


@pytest.fixture
def alone(tiny_store, text_folder, tmp_path):
    """A function that harvests one place into a folder of its own, and gives its files."""

    def make(place, what=WHAT):
        folder = tmp_path / "alone" / f"{place}"
        layer, hook = place
        text = TextSource([str(text_folder)])
        harvest(tiny_store[0], text, replace(what, layer=layer, hook=hook), folder, progress=False)
        return content(folder)

    return make


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".harvest.lock"}


@pytest.fixture
def passes(monkeypatch):
    """The tokens of every forward pass: its shape."""
    seen, plain = [], torch.nn.Embedding.forward
    monkeypatch.setattr(
        torch.nn.Embedding, "forward", lambda self, tokens: seen.append(tuple(tokens.shape)) or plain(self, tokens)
    )
    return lambda: [shape for shape in seen if shape[-1] == 16]


def test_every_place_has_the_bytes_of_a_harvest_of_its_own(run, alone, tmp_path, passes):
    stores = run()
    assert len(passes()) == 6 + 2  # batches of training and of held-out contexts, for all places
    assert list(stores) == NAMES
    for place, name in zip(PLACES, NAMES, strict=True):
        assert content(tmp_path / "acts" / name) == alone(place)
    assert len({store.sha256 for store in stores.values()}) == 3
    first, *others = stores.values()
    for split in ("train", "held_out"):
        for other in others:
            assert torch.equal(first.tokens(split), other.tokens(split))
            assert (first.documents(split) == other.documents(split)).all()
    kept = [store.kept("train") for store in stores.values()]
    assert not torch.equal(kept[0], kept[2])  # outliers are each place's own


@pytest.mark.parametrize("batch", [3, 8, 20])
def test_shards_of_other_sizes_share_the_passes(run, alone, tmp_path, monkeypatch, tiny_store, passes, batch):
    """Places of different widths have shards of different numbers of contexts; here they are of equal width."""
    what = replace(WHAT, batch=batch)
    sizes = dict(zip([*PLACES], [8, 5, 1], strict=True))
    order = iter([*sizes.values(), *sizes.values()])
    module = sys.modules["sae_bridge.activations.harvest"]
    monkeypatch.setattr(module, "contexts_per_shard", lambda *_: next(order))
    run(what=what)
    assert len(passes()) == -(-45 // batch) + -(-10 // batch)
    for place, name in zip(PLACES, NAMES, strict=True):
        assert content(tmp_path / "acts" / name) == alone(place, what)
        store = ActivationStore(tmp_path / "acts" / name)
        parts = store.tokens("train").split(batch)
        hidden = torch.cat([tiny_store[0].activations(part, *place) for part in parts])
        assert torch.equal(hidden[store.kept("train")], store.rows("train"))


def test_every_hook_is_stored_in_its_own_width(tmp_path, text_folder, passes):
    """Four heads of 16 beside a stream of 32."""
    from conftest import save_tiny_model
    from transformers import AutoModelForCausalLM, LlamaConfig

    from sae_bridge.models import HOOKS, load_language_model

    folder = save_tiny_model(tmp_path / "model")
    config = LlamaConfig.from_pretrained(folder, head_dim=16)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    model, text = load_language_model(str(folder)), TextSource([str(text_folder)])
    before = len(passes())
    stores = harvest_places(model, text, WHAT, [(1, hook) for hook in HOOKS], tmp_path / "acts", progress=False)
    assert len(passes()) - before == 6 + 2
    assert {name: store.m for name, store in stores.items()} == {
        f"layer1.{hook}": 64 if hook == "attn_z" else 32 for hook in HOOKS
    }
    for hook in HOOKS:
        harvest(model, text, replace(WHAT, layer=1, hook=hook), tmp_path / hook, progress=False)
        assert content(tmp_path / "acts" / f"layer1.{hook}") == content(tmp_path / hook)
    contexts = WHAT.contexts(model, text, "train")
    live = LiveStream(model, contexts, replace(WHAT, layer=1, hook="attn_z"), 50, 0)
    assert live.sha256 == stores["layer1.attn_z"].live_sha256
    assert live.batch(0).shape == (50, 64)
    stored = StoredStream(stores["layer1.attn_z"], 50, 0)
    torch.testing.assert_close(live.batch(3), stored.batch(3), rtol=1e-4, atol=1e-6)


def test_what_is_missing_is_run_and_nothing_else(run, tmp_path, passes):
    run()
    before = {name: content(tmp_path / "acts" / name) for name in NAMES}
    count = len(passes())
    run()
    assert len(passes()) == count
    for name, shard in ((NAMES[0], "train-00003"), (NAMES[2], "train-00003"), (NAMES[2], "train-00000")):
        (tmp_path / "acts" / name / f"{shard}.safetensors").unlink()
    with pytest.raises(InvalidFile, match="1 shards missing"):
        stores_in(tmp_path / "acts")
    run()
    assert len(passes()) == count + 2
    shutil.rmtree(tmp_path / "acts" / NAMES[1])
    run()
    assert len(passes()) == count + 2 + 8
    assert {name: content(tmp_path / "acts" / name) for name in NAMES} == before


def test_a_place_is_added_later(run, alone, tmp_path):
    run(PLACES[2:])
    found = run(PLACES[:1])
    assert list(found) == NAMES[:1]
    assert list(stores_in(tmp_path / "acts")) == [NAMES[0], NAMES[2]]
    assert content(tmp_path / "acts" / NAMES[0]) == alone(PLACES[0])


def test_errors_leave_whole_shards_of_every_place(run, tmp_path, monkeypatch):
    whole = {name: content(store.folder) for name, store in run(name="whole").items()}
    count, norms = 0, sys.modules["sae_bridge.activations._forward"].norms_of

    def failing(hidden):
        nonlocal count
        count += 1
        if count == 14:
            raise KeyboardInterrupt
        return norms(hidden)

    with monkeypatch.context() as patch:
        patch.setattr("sae_bridge.activations._forward.norms_of", failing)
        with pytest.raises(KeyboardInterrupt):
            run()
    left = {name: content(tmp_path / "acts" / name) for name in NAMES}
    assert 0 < sum(len(files) - 1 for files in left.values()) < sum(len(files) - 1 for files in whole.values())
    assert all(files.items() <= whole[name].items() for name, files in left.items())
    run()
    assert {name: content(tmp_path / "acts" / name) for name in NAMES} == whole


PROGRAM = """
import os, signal, sys, time
import torch
from expander_theory.cli import main
from sae_bridge.activations import _shards as shards
from sae_bridge.activations import _writing as writing
from sae_bridge.models import load_language_model

torch.set_num_threads(1)
shards._MOST_CONTEXTS = 8
write, (out, model, text) = writing.PlaceWriter._write, sys.argv[1:]
load_language_model(model)  # its class is imported once

def child(folder, number=None):
    "The command in a process of its own, which gets a signal while the second shard of both places is filled."
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    def then_told(self, split, index, whole):
        write(self, split, index, whole)
        if number and self.tap.layer == 2:
            os.kill(os.getpid(), number)
    writing.PlaceWriter._write = then_told
    sizes = ["--context", "16", "--tokens", "720", "--held-out-tokens", "160", "--outlier-ratio", "1.2"]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        main(["sae", "harvest", f"{out}/{folder}", "--model", model, "--text", text, "--layer", "0", "2", *sizes])
    except SystemExit as end:
        os._exit(end.code)
    os._exit(0)

for folder, number, code in (("term", signal.SIGTERM, 143), ("int", signal.SIGINT, 130)):
    assert child(folder, number) == code
    left = [name for _, _, names in os.walk(f"{out}/{folder}") for name in names]
    assert sorted(left) == sorted([".harvest.lock"] * 3 + ["activations.json", "train-00000.safetensors"] * 2), left
    assert child(folder) == 0
"""


def test_signals_leave_whole_shards_and_the_same_command_goes_on(tiny_model_folder, text_folder, tmp_path, run):
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, tmp_path, tiny_model_folder, text_folder]
    quiet = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the same command goes on from there") == 1
    for name, store in run([(0, "resid_post"), (2, "resid_post")]).items():
        for folder in ("term", "int"):
            assert content(tmp_path / folder / name) == content(store.folder)


def test_stores_of_other_harvests_are_refused(run, tmp_path, alone):
    run(PLACES[:1])
    for what, says in (
        (replace(WHAT, train_contexts=46), "layer0.resid_post: belongs to another harvest: contexts.train is 45 there"),
        (replace(WHAT, dtype="bfloat16"), "dtype is 'float32' there"),
        (replace(WHAT, policy=TokenPolicy()), "policy.outlier_ratio is 1.2 there and 6.0 here"),
    ):
        with pytest.raises(InvalidFile, match=says):
            run(PLACES[1:], what)
    assert sorted(path.name for path in (tmp_path / "acts").iterdir()) == [".harvest.lock", NAMES[0]]
    run(PLACES[1:2], replace(WHAT, train_contexts=46), "other")
    shutil.move(tmp_path / "other" / NAMES[1], tmp_path / "acts" / NAMES[1])
    with pytest.raises(InvalidFile, match=r"contexts\.train is 46 there and 45 here"):
        stores_in(tmp_path / "acts")
    shutil.rmtree(tmp_path / "acts" / NAMES[1])
    shutil.move(tmp_path / "acts" / NAMES[0], tmp_path / "acts" / NAMES[1])
    with pytest.raises(InvalidFile, match=r"holds layer0\.resid_post: it was given another name"):
        stores_in(tmp_path / "acts")


def test_folders_of_other_things_are_refused(run, alone, tmp_path):
    alone(PLACES[0])
    plain = f"alone/{PLACES[0]}"
    with pytest.raises(InvalidFile, match=r"activations of one place \(resid_post of layer 0\); choose another"):
        run(name=plain)
    assert list(stores_in(tmp_path / plain)) == ["."]
    (tmp_path / "acts").mkdir()
    (tmp_path / "acts" / "thesis.tex").write_text("precious")
    with pytest.raises(InvalidFile, match=r"thesis\.tex"):
        run()
    with pytest.raises(InvalidFile, match=r"activations.json is missing"):
        stores_in(tmp_path / "acts")
    run(name="several")
    with pytest.raises(InvalidFile, match=f"several places; name the folder of one: {', '.join(NAMES[:1])}"):
        ActivationStore(tmp_path / "several")


def test_bad_places_are_named(run, tmp_path):
    for places, says in (
        ([], "places = 0"),
        ([(0, "resid_post")] * 2, "places = .*must not repeat"),
        ([(0, "resid_post"), (4, "resid_post")], "layer = 4"),
        ([(0, "resid_post"), (0, "mlp")], "hook"),
    ):
        with pytest.raises(InvalidArgument, match=says):
            run(places)
    assert not (tmp_path / "acts").exists()


def test_the_disk_of_all_places_is_asked_for_before_anything_is_written(run, tmp_path, monkeypatch):
    free = 4 * 55 * 16 * (32 * 4 + 5) + (16 << 20)  # four places of 55 contexts would fit
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(0, 0, free))
    run([*PLACES, (1, "resid_pre")], name="fits")
    with pytest.raises(InvalidFile, match="GiB of disk and"):
        run([*PLACES, (1, "resid_pre"), (3, "resid_pre")])
    assert not (tmp_path / "acts").exists()


def test_the_estimate_counts_every_place(tiny_store):
    model = tiny_store[0]
    one, three = estimate(model, WHAT), estimate(model, WHAT, places=PLACES)
    assert (three.tokens, three.disk) == (one.tokens, 3 * one.disk)
    shard = 45 * 16 * 32 * 4
    assert three.memory - one.memory >= 2 * shard


def test_the_command_takes_layers_and_hooks(tiny_model_folder, text_folder, tmp_path, capsys):
    shared = {"model": str(tiny_model_folder), "text": (str(text_folder),), "context": 16, "tokens": 100}
    Command(out=tmp_path / "s", layer="all", hook=("resid_post",), held_out_tokens=20, **shared).run()
    assert list(stores_in(tmp_path / "s")) == [f"layer{i}.resid_post" for i in range(4)]
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 4
    assert "7 training and 2 held-out contexts of 16 tokens, resid_post of layer 2, m = 32" in out[2]
    Command(out=tmp_path / "s", layer=(1,), hook=("resid_pre",), held_out_tokens=20, **shared).run()
    about = json.loads((tmp_path / "s" / "layer1.resid_pre" / "activations.json").read_text())
    assert (about["layer"], about["hook"]) == (1, "resid_pre")
    for change in ({"layer": (1, 1)}, {"hook": ("resid_pre", "resid_pre")}, {"hook": ()}):
        with pytest.raises(InvalidArgument, match=next(iter(change))):
            Command(out=tmp_path / "t", **shared, **change).run()


def test_the_command_offers_the_hooks_of_models():
    from typing import get_args

    from sae_bridge.commands.sources.harvest_options import Hook
    from sae_bridge.models import HOOKS

    assert set(HOOKS) <= set(get_args(Hook))
