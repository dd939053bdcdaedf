"""Training of transcoders: it learns, resumes to the bit, and reads two places of a harvest."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.pairs import M_IN, PairedStream, harvest_places

from expander_theory import InvalidArgument, InvalidFile
from sae_bridge.activations import ActivationStore, StoredStream
from sae_bridge.models.language_models import load_language_model
from sae_bridge.training import train
from sae_bridge.transcoders import PairedStore, TranscoderTraining, load_transcoder, paired_store, train_transcoders

HOW = TranscoderTraining(d=8, n=96, k=8, m_in=M_IN, steps=120, dead_after=2000, learning_rate=1e-2)


def run(folder, how=HOW, **options):
    return train({".": how}, PairedStream(), folder, progress=False, **options)["."]


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def fvu(made):
    rows = PairedStream(seed=0).data
    true = rows[:, M_IN:]
    with torch.no_grad():
        y = made(rows[:, :M_IN])[0]
    return float((y - true).square().sum() / (true - true.mean(dim=0)).square().sum())


@pytest.mark.parametrize(
    ("how", "most"),
    [
        (HOW, 0.9),
        (replace(HOW, d=None), 0.75),
        (replace(HOW, d_in=8), 0.95),
        (replace(HOW, dense_columns=16), 0.9),
        (replace(HOW, skip=True), 0.75),
        (replace(HOW, activation="batch_topk"), 0.95),
    ],
    ids=["expander", "dense", "both", "block", "skip", "batch"],
)
def test_training_lowers_the_error_of_the_output(tmp_path, how, most):
    made = run(tmp_path, how)
    assert fvu(made) < most
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["fvu"] < most
    assert same(made, load_transcoder(tmp_path)[0])


@pytest.mark.parametrize(
    "how", [HOW, replace(HOW, d_in=6, skip=True), replace(HOW, activation="batch_topk")], ids=["d", "skip", "batch"]
)
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, how, monkeypatch):
    whole = run(tmp_path / "whole", how)
    batch = PairedStream.batch

    def stopping(self, step):
        if step == 70:
            os.kill(os.getpid(), signal.SIGINT)
        return batch(self, step)

    monkeypatch.setattr(PairedStream, "batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", how, checkpoint_every=50)
    monkeypatch.setattr(PairedStream, "batch", batch)
    assert (tmp_path / "parts" / "checkpoint.safetensors").is_file()
    assert same(run(tmp_path / "parts", how), whole)
    with pytest.raises(InvalidFile, match="learning_rate"):
        run(tmp_path / "parts", replace(how, learning_rate=2e-3))


def test_what_is_measured_is_the_error_of_the_output_in_its_own_units(tmp_path):
    from sae_bridge.training import TrainingRun, World

    stream = PairedStream()
    one = TrainingRun(HOW, stream.sample(4096), torch.device("cpu"), World(), HOW.identity())
    rows = stream.batch(0)
    with torch.no_grad():
        y = one.sae(rows)[0]
    one.advance(rows)
    spread = stream.data[:, M_IN:]
    variance = (spread - spread.mean(dim=0)).square().sum(dim=1).mean()
    expected = (y - rows[:, M_IN:]).square().sum(dim=1).mean() / variance
    assert one.numbers()["fvu"] == pytest.approx(float(expected), rel=1e-4)
    assert {id(p) for group in one.optimiser.param_groups for p in group["params"]} == set(
        map(id, one.sae.parameters())
    )


@pytest.fixture(scope="module")
def places(tiny_model_folder, text_folder, tmp_path_factory):
    model = load_language_model(str(tiny_model_folder))
    folder = tmp_path_factory.mktemp("places")
    return model, harvest_places(model, text_folder, folder, (1, "resid_pre"), (1, "resid_post"), (2, "resid_post"))


def test_a_paired_store_is_both_stores_where_both_count(places):
    _, folder = places
    store = paired_store(folder, (None, "resid_pre"), (1, "resid_post"))
    a, b = ActivationStore(folder / "layer1.resid_pre"), ActivationStore(folder / "layer1.resid_post")
    for split in ("train", "held_out"):
        both = a.kept(split) & b.kept(split)
        assert int(both.sum()) < min(a.count(split), b.count(split))  # outliers of one alone
        assert torch.equal(store.kept(split), both)
        expected = torch.cat([one.rows(split)[both[one.kept(split)]] for one in (a, b)], dim=1)
        assert torch.equal(store.rows(split), expected)
        assert store.count(split) == len(expected)
        parts = list(store.batches(split, 37))
        assert {len(part) for part in parts[:-1]} == {37}
        assert torch.equal(torch.cat(parts), expected)
        contexts = np.array([0, 3, 4, 9])
        of = torch.nonzero(both)[:, 0]
        chosen = torch.isin(of, torch.from_numpy(contexts))
        assert torch.equal(store.context_rows(split, contexts), expected[chosen])
    assert (store.m_in, store.m_out, store.m) == (32, 32, 64)
    assert PairedStore(b, a).sha256 != store.sha256 != PairedStore(a, a).sha256
    with pytest.raises(InvalidArgument, match="ascending"):
        store.context_rows("train", np.array([3, 1]))


def test_places_that_are_not_there_or_of_another_harvest_are_refused(places, text_folder, tmp_path):
    model, folder = places
    with pytest.raises(InvalidFile, match="no store of mlp_in of layer 1; its stores: resid_post of layer 1"):
        paired_store(folder, (1, "mlp_in"), (1, "resid_post"))
    with pytest.raises(InvalidFile, match="several layers of resid_post"):
        paired_store(folder, (1, "resid_pre"), (None, "resid_post"))
    other = harvest_places(model, text_folder, tmp_path, (1, "resid_pre"), context=10)
    with pytest.raises(InvalidFile, match="has another context, tokens_sha256"):
        PairedStore(ActivationStore(other / "layer1.resid_pre"), ActivationStore(folder / "layer1.resid_post"))


def test_training_on_two_places_of_a_harvest(places, tmp_path):
    _, folder = places
    store = paired_store(folder, (1, "resid_pre"), (1, "resid_post"))
    runs = {f"d{d}": replace(HOW, d=d, m_in=None, n=64, k=4, steps=60) for d in (4, 32)}
    made = train_transcoders(runs, store, tmp_path, batch=64, progress=False)
    _, fields = load_transcoder(tmp_path / "d4")
    assert {key: fields[key] for key in ("input_layer", "input_hook", "layer", "hook", "m_in")} == {
        **{"input_layer": 1, "input_hook": "resid_pre", "layer": 1, "hook": "resid_post"}, "m_in": 32,
    }  # fmt: skip
    assert fields["activations_sha256"] == store.sha256
    rows = store.rows("held_out")
    true = rows[:, 32:]
    for one in made.values():
        with torch.no_grad():
            missed = (one(rows[:, :32])[0] - true).square().sum() / (true - true.mean(dim=0)).square().sum()
        assert missed < 0.7
    small = StoredStream(store, 64, 0, 40 * 12 * 64 * 4 // 3)
    assert small.windows > 1
    assert small.batch(5).shape == (64, 64)
