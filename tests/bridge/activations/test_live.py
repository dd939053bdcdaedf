"""Streams that make the next window meanwhile, and streams without a store that stop and go on."""

import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from expander_theory import InvalidArgument
from sae_bridge.activations import Harvest, LiveStream, RotatedStore, StoredStream, TextSource, TokenPolicy, harvest
from sae_bridge.models import LanguageModel

WHAT = Harvest(layer=1, context=16, train_contexts=90, held_out_contexts=10)
WINDOW = 25 * 15 * 32 * 4  # bytes of 25 contexts: four windows
STEPS = range(40)


@pytest.fixture
def live(tiny_store, text_folder):
    """A function that makes a live stream of four windows."""
    model = tiny_store[0]

    def make(what=WHAT, memory=WINDOW, **options):
        contexts = what.contexts(model, TextSource([str(text_folder)]), "train")
        return LiveStream(model, contexts, what, 50, 3, memory, **options)

    return make


@pytest.fixture
def asked(monkeypatch):
    """Threads and batches of every forward pass."""
    seen, plain = [], LanguageModel.activations

    def activations(self, *args):
        seen.append(threading.current_thread())
        return plain(self, *args)

    monkeypatch.setattr(LanguageModel, "activations", activations)
    return seen


@pytest.mark.parametrize("kind", ["live", "stored"])
def test_what_is_made_ahead_is_the_same(live, tiny_store, kind, asked):
    def make(**options):
        return live(**options) if kind == "live" else StoredStream(tiny_store[1], 50, 3, WINDOW, **options)

    plain = [make().batch(step) for step in (0,)]
    stream = make()
    plain = [stream.batch(step) for step in STEPS]
    asked.clear()
    with make(prefetch=True) as ahead:
        assert ahead.sha256 == stream.sha256
        assert ahead.windows == 4
        torch.testing.assert_close(ahead.sample(30), stream.sample(30), rtol=0, atol=0)
        assert all(torch.equal(ahead.batch(step), plain[step]) for step in STEPS)
        for step in (30, 3, 39, 12, 13):  # any order, as after a resumption
            assert torch.equal(ahead.batch(step), plain[step])
        if kind == "live":
            assert {thread is threading.main_thread() for thread in asked} == {True, False}
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if t.name.startswith("window")]


def test_a_stream_begun_anywhere_gives_the_same_bits(live):
    whole = live()
    batches = [whole.batch(step) for step in STEPS]
    for step in (37, 11, 26):
        begun = live()
        begun.sample(1000)  # as a trainer does
        assert torch.equal(begun.batch(step), batches[step])


def test_one_window_is_run_once(live, asked):
    stream = live(memory=1 << 30, prefetch=True)
    first = [stream.batch(step) for step in range(27)]
    count = len(asked)
    second = [stream.batch(step) for step in range(27, 54)]
    assert len(asked) == count == 12 + 8  # all contexts, and those of the first shard for the limit of the norm
    assert sorted(map(tuple, torch.cat(first).tolist())) == sorted(map(tuple, torch.cat(second).tolist()))
    assert not torch.equal(first[0], second[0])
    assert torch.equal(live(memory=1 << 30).batch(40), second[13])


def test_no_more_than_two_windows_are_held(live):
    stream = live(prefetch=True)
    held = []
    for step in STEPS:
        stream.batch(step)
        ahead = stream._ahead.rows()
        held.append(stream._rows.untyped_storage().nbytes() + ahead.untyped_storage().nbytes())
    stream.close()
    assert WINDOW < max(held) <= 2 * WINDOW
    assert stream._rows.numel() == 0
    assert len(stream.batch(3)) == 50  # it can be used again


def test_errors_of_the_thread_are_raised_where_the_window_is_asked_for(live, tiny_store, monkeypatch):
    with live(prefetch=True) as stream:
        stream.batch(0)
        stream._ahead.rows()

        def broken(self, *args):
            raise InvalidArgument("model", "x", "gives NaN")

        monkeypatch.setattr(LanguageModel, "activations", broken)
        first = next(step for step in STEPS if stream._windows.locate(step)[0] == 1)
        stream.batch(first)  # made before; the thread of the next one fails
        with pytest.raises(InvalidArgument, match="gives NaN"):
            stream.batch(next(step for step in STEPS if stream._windows.locate(step)[0] == 2))
        monkeypatch.undo()
        assert torch.equal(stream.batch(first), live().batch(first))


def test_leaving_ends_the_thread_between_two_forward_passes(live, asked):
    slow = threading.Event()
    with live(prefetch=True, done=lambda _: slow.wait(0.05)) as stream:
        stream.batch(0)
        thread = stream._ahead._thread
        asked.clear()
        begun = time.monotonic()
    assert not thread.is_alive()
    assert time.monotonic() - begun < 5
    assert len(asked) <= 3


def test_the_model_can_be_used_meanwhile(live, tiny_store):
    model, plain = tiny_store[0], live()
    tokens = tiny_store[1].tokens("held_out")
    expected = [model.activations(tokens, layer, "resid_pre") for layer in range(4)]
    parameters = sum(p.numel() for p in model.model.parameters())
    with live(prefetch=True) as stream:
        own = stream._tap.model.model
        assert own is not model.model
        assert {p.data_ptr() for p in own.parameters()} == {p.data_ptr() for p in model.model.parameters()}
        assert sum(p.numel() for p in own.parameters()) == parameters
        for step in STEPS:
            assert torch.equal(stream.batch(step), plain.batch(step))
            for layer in range(4):
                assert torch.equal(model.activations(tokens, layer, "resid_pre"), expected[layer])


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_of_torch_do_not_change_with_the_thread(live, threads):
    """A new thread takes as many for one product as the main one does, or sums would differ."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        plain = live()
        expected = [plain.batch(step) for step in STEPS]
        with live(prefetch=True) as ahead:
            assert all(torch.equal(ahead.batch(step), expected[step]) for step in STEPS)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("policy", [TokenPolicy(), TokenPolicy(outlier_ratio=None), TokenPolicy(drop_first=False)])
def test_a_store_knows_the_live_stream_of_its_tokens(live, tiny_store, text_folder, tmp_path, policy):
    what = replace(WHAT, policy=policy)
    store = harvest(tiny_store[0], TextSource([str(text_folder)]), what, tmp_path / "s", progress=False)
    stream = live(what)
    assert stream.sha256 == store.live_sha256 != store.sha256
    for other in (
        replace(what, train_contexts=89),
        replace(what, layer=2),
        replace(what, hook="resid_pre"),
        replace(what, dtype="bfloat16"),
        replace(what, policy=TokenPolicy(outlier_ratio=2.0)),
    ):
        assert live(other).sha256 != store.live_sha256
    about = {key: store.description[key] for key in ("model", "model_fingerprint", "layer", "hook", "context")}
    assert stream.about == about
    turned = RotatedStore(store, torch.from_numpy(np.linalg.qr(np.random.default_rng(0).normal(size=(32, 32)))[0]))
    assert turned.live_sha256 not in (stream.sha256, store.sha256)


def test_the_limit_is_the_store_s(live, tiny_store):
    stream = live(replace(WHAT, policy=TokenPolicy(outlier_ratio=6.0)))
    stream.batch(0)
    assert stream._limit == pytest.approx(tiny_store[1].norm_limit, rel=1e-6)
    assert sys.float_info.max > stream._limit
