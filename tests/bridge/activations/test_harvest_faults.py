"""Harvests under faults: killed, stopped, on a full disk, and stores that were damaged since."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.results.files import read_arrays, write_arrays
from expander_theory.results.locks import locked
from sae_bridge.activations import ActivationStore, Harvest, harvest
from sae_bridge.activations.stream import StoredStream
from sae_bridge.activations.text import TextSource

WHAT = Harvest(layer=1, context=16, train_contexts=90, held_out_contexts=10)
PROGRAM = """
import os, signal, sys, time
import torch
from sae_bridge.activations import _shards as shards
from sae_bridge.activations import Harvest, harvest
from sae_bridge.models import LanguageModel, load_language_model
from sae_bridge.activations import TextSource

torch.set_num_threads(1)
shards._MOST_CONTEXTS = 8
model, text, out = load_language_model(sys.argv[1]), TextSource([sys.argv[2]]), sys.argv[3]
what = Harvest(layer=1, context=16, train_contexts=90, held_out_contexts=10)

def child(folder, owner=None, name=None, call=0):
    "Harvest in a process of its own, which kills itself at the given call of a function."
    pid = os.fork()
    if pid:
        return pid
    count, original = 0, getattr(owner, name) if owner else None
    def counting(*args, **options):
        nonlocal count
        count += 1
        if count == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **options)
    if owner:
        setattr(owner, name, counting)
    harvest(model, text, what, folder, progress=False)
    os._exit(0)

def ended(pid):
    return os.waitpid(pid, 0)[1]

assert ended(child(f"{out}/whole")) == 0
moments = [
    (os, "fsync", 1), (os, "replace", 1),                       # the description
    (LanguageModel, "activations", 1), (os, "fsync", 2), (os, "replace", 1),  # the first shards
    (os, "replace", 4), (os, "fsync", 3), (LanguageModel, "activations", 3),
]
left = 0
for moment in moments:
    assert ended(child(f"{out}/killed", *moment)) == signal.SIGKILL, moment
    left = max(left, len([name for name in os.listdir(f"{out}/killed") if ".safetensors." in name]))
assert left == 1, left  # half-written files were there, and did not pile up
for delay in (0.01, 0.02, 0.05, 0.1):
    pid = child(f"{out}/killed")
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    ended(pid)
assert ended(child(f"{out}/killed")) == 0
"""


@pytest.fixture
def again(tiny_store, text_folder, tmp_path, monkeypatch):
    """A new folder, and a function that harvests into it, eight contexts a shard."""
    monkeypatch.setattr("sae_bridge.activations._shards._MOST_CONTEXTS", 8)
    model, folder = tiny_store[0], tmp_path / "store"
    return folder, lambda model=model: harvest(model, TextSource([str(text_folder)]), WHAT, folder, progress=False)


def content(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name != ".harvest.lock"}


def test_a_harvest_that_is_killed_at_any_moment_goes_on_to_the_same_bytes(tiny_model_folder, text_folder, tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, tiny_model_folder, text_folder, tmp_path]
    quiet = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stderr
    whole = content(tmp_path / "whole")
    assert len(whole) == 1 + 12 + 2
    assert content(tmp_path / "killed") == whole


def interrupted(monkeypatch, model, call, error):
    """From the given forward pass on the model raises; the fixture's end puts it right."""
    original, count = type(model).activations, 0

    def activations(self, *args, **options):
        nonlocal count
        count += 1
        if count >= call:
            raise error
        return original(self, *args, **options)

    monkeypatch.setattr(type(model), "activations", activations)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_finished_shards_outlive_ctrl_c_and_errors(again, tiny_store, error):
    folder, run = again
    with pytest.MonkeyPatch.context() as patch:
        interrupted(patch, tiny_store[0], 5, error)
        with pytest.raises(type(error)):
            run()
    found = content(folder)
    assert sorted(found) == ["activations.json", *(f"train-{i:05d}.safetensors" for i in range(4))]
    run()
    assert found.items() <= content(folder).items()
    assert len(ActivationStore(folder).rows("train")) == 90 * 15


def test_nan_activations_are_refused_at_harvest(again, tiny_store, monkeypatch):
    folder, run = again
    model = tiny_store[0]
    original, count = type(model).activations, 0

    def activations(self, *args, **options):
        nonlocal count
        count += 1
        hidden = original(self, *args, **options).clone()
        hidden[-1, 0, 3] = float("nan") if count == 3 else 1.0
        return hidden

    monkeypatch.setattr(type(model), "activations", activations)
    with pytest.raises(InvalidArgument, match="gives NaN or infinite activations at resid_post of layer 1"):
        run()
    assert "train-00002.safetensors" not in content(folder)
    assert "train-00001.safetensors" in content(folder)


def test_a_full_disk_names_the_file_and_keeps_the_shards(again, monkeypatch):
    import resource

    folder, run = again
    original, soft = os.fsync, resource.getrlimit(resource.RLIMIT_FSIZE)
    count = 0

    def fsync(descriptor):
        nonlocal count
        count += 1
        if count == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, soft[1]))
        return original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(folder / "train-00003.safetensors")
    found = content(folder)
    assert sorted(found) == ["activations.json", *(f"train-{i:05d}.safetensors" for i in range(3))]
    run()
    assert found.items() <= content(folder).items()


def test_too_small_a_disk_is_refused_before_anything_is_written(again, monkeypatch):
    folder, run = again
    needed = (90 + 10) * 16 * (32 * 4 + 5)
    free = needed + (16 << 20)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free, 0, free - 1))
    with pytest.raises(InvalidFile, match=r"needs 0\.00 GiB of disk and 0\.02 GiB are free: free some"):
        run()
    assert not folder.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free, 0, free))
    run()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free, 0, 16 << 20))
    run()  # nothing is missing, so nothing is needed


def test_a_second_harvest_is_kept_out(again):
    folder, run = again
    run()
    with (
        locked(folder, "", folder / ".harvest.lock"),
        pytest.raises(InvalidFile, match=r"another process is harvesting.*process \d+ on"),
    ):
        run()


def rewritten(path, kind="expander-activations", version=2, fields=None, **arrays):
    """Change a shard so that its hash fits again."""
    old_fields, old = read_arrays(path, "expander-activations", 2)
    write_arrays(path, kind, version, {**old_fields, **(fields or {})}, {**old, **arrays})
    return old


DAMAGE = {
    "flipped bit": ("SHA-256", lambda path: path.write_bytes(_flipped(path.read_bytes()))),
    "cut short": ("truncated", lambda path: path.write_bytes(path.read_bytes()[:-100])),
    "empty": ("truncated", lambda path: path.write_bytes(b"")),
    "no shard": ("truncated or not a file", lambda path: path.write_text("not a shard at all")),
    "other place": (
        "holds shard 0 of split 'train'",
        lambda path: shutil.copy(path.with_name("train-00000.safetensors"), path),
    ),
    "other harvest": ("belongs to another harvest", lambda path: rewritten(path, fields={"harvest": "f" * 64})),
    "other limit": ("has another limit of the norm", lambda path: rewritten(path, fields={"norm_limit": 1.0})),
    "other kind": ("holds 'other'", lambda path: rewritten(path, kind="other")),
    "newer": ("newer than 2", lambda path: rewritten(path, version=3)),
    "NaN": ("NaN or infinite", lambda path: _with_nan(path)),
    "other width": (
        "other shapes or types",
        lambda path: rewritten(path, activations=np.zeros((120, 31), np.float32)),
    ),
    "other type": ("other shapes or types", lambda path: rewritten(path, activations=np.zeros((120, 32)))),
    "too few kept": ("other shapes or types", lambda path: rewritten(path, kept=np.zeros((8, 16), bool))),
    "other tokens": (
        "do not hold the tokens of activations.json",
        lambda path: rewritten(path, tokens=np.ones((8, 16), np.int32)),
    ),
}


def _flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def _with_nan(path):
    rows = read_arrays(path, "expander-activations", 2)[1]["activations"].copy()
    rows[3, 3] = np.nan
    rewritten(path, activations=rows)


@pytest.mark.parametrize("kind", DAMAGE)
def test_every_kind_of_damage_is_reported_by_every_reader(again, kind):
    folder, run = again
    run()
    says, damage = DAMAGE[kind]
    damage(folder / "train-00001.safetensors")
    for read in (
        lambda store: store.rows("train"),
        lambda store: store.tokens("train"),
        lambda store: store.documents("train"),
        lambda store: store.kept("train"),
        lambda store: next(store.batches("train", 10)),
        lambda store: StoredStream(store, 16, 0),
    ):
        with pytest.raises(InvalidFile, match=says):
            read(ActivationStore(folder))
    ActivationStore(folder).rows("held_out")  # which is whole


def test_nan_in_bfloat16_is_seen(tiny_store, text_folder, tmp_path):
    what = Harvest(layer=1, context=16, train_contexts=4, held_out_contexts=1, dtype="bfloat16")
    store = harvest(tiny_store[0], TextSource([str(text_folder)]), what, tmp_path / "s", progress=False)
    path = store.folder / "train-00000.safetensors"
    bits = read_arrays(path, "expander-activations", 2)[1]["activations"].copy()
    assert bits.dtype == np.uint16
    bits[0, 0] = torch.tensor(float("inf"), dtype=torch.bfloat16).view(torch.int16).item()
    rewritten(path, activations=bits)
    with pytest.raises(InvalidFile, match="NaN or infinite"):
        store.rows("train")


def test_a_shard_that_is_cut_short_is_refused_before_the_rest_is_harvested(again, tiny_store, monkeypatch):
    folder, run = again
    run()
    path = folder / "train-00003.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    (folder / "held_out-00000.safetensors").unlink()
    with pytest.MonkeyPatch.context() as patch:
        interrupted(patch, tiny_store[0], 1, AssertionError("the model is not run"))
        with pytest.raises(InvalidFile, match=r"train-00003.safetensors: truncated.*delete it and harvest again"):
            run()
    path.unlink()
    run()
    assert path.read_bytes() == whole


def test_a_shard_that_goes_away_while_it_is_read_is_reported(again):
    folder, run = again
    stream = StoredStream(run(), 16, 0)
    (folder / "train-00002.safetensors").unlink()
    with pytest.raises(InvalidFile, match=r"train-00002\.safetensors: cannot be read any more"):
        stream.batch(0)


def test_damaged_descriptions_are_reported(again):
    folder, run = again
    run()
    path = folder / "activations.json"
    about = json.loads(path.read_text())
    for change, says in (
        ({"version": 9}, "newer than 2: upgrade"),
        ({"version": 1}, "format version 1 is older than 2, which this release reads: harvest again"),
        ({"version": "2"}, "format version"),
        ({"kind": "x"}, "holds 'x'"),
        ({"m": None}, "m: expected int, got null"),
        ({"policy": {}}, "lacks policy.bos_id"),
        ({"policy": {**about["policy"], "drop_last": True}}, "another policy than is known"),
        ({"dtype": "float16"}, "dtype: invalid enum value"),
    ):
        path.write_text(json.dumps({**about, **change}))
        with pytest.raises(InvalidFile, match=says):
            ActivationStore(folder)
    for text in ("{", "[]", '"x"', ""):
        path.write_text(text)
        with pytest.raises(InvalidFile, match="damaged"):
            ActivationStore(folder)
    path.unlink()
    with pytest.raises(InvalidFile, match="expander sae harvest"):
        ActivationStore(folder)
    with pytest.raises(InvalidFile, match="not empty and holds no activations"):
        run()
