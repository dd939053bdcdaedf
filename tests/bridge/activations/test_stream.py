"""Streams: every row once per pass, shuffled, in bounded memory, a function of the step alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from expander_theory import InvalidArgument
from sae_bridge.activations import Harvest, TokenPolicy, harvest
from sae_bridge.activations._windows import Windows
from sae_bridge.activations.stream import ActivationStream, LiveStream, StoredStream
from sae_bridge.activations.text import TextSource
from sae_bridge.models.language_models import LanguageModel

WHAT = Harvest(layer=1, context=16, train_contexts=90, held_out_contexts=10)
ROW = 32 * 4  # bytes
EVERYTHING = 1 << 30


@pytest.fixture(scope="module")
def stores(tiny_store, text_folder, tmp_path_factory):
    """A function that harvests in shards of eight contexts, once for each policy and dtype."""
    folder, made = tmp_path_factory.mktemp("stores"), {}

    def make(dtype="float32", **policy):
        key = (dtype, *policy.items())
        if key not in made:
            what = replace(WHAT, dtype=dtype, policy=TokenPolicy(**policy))
            text = TextSource([str(text_folder)])
            made[key] = what, harvest(tiny_store[0], text, what, folder / str(len(made)), progress=False)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sae_bridge.activations._shards._MOST_CONTEXTS", 8)
        # Contexts share beginnings, so some rows would be equal: every context is shifted by its own amount.
        plain = LanguageModel.activations
        weights = torch.randn(16, generator=torch.Generator().manual_seed(0))

        def shifted(model, tokens, *where):
            return plain(model, tokens, *where) + 1e-2 * (tokens.float() @ weights)[:, None, None]

        patch.setattr(LanguageModel, "activations", shifted)
        yield make


def numbered(store, batch):
    """Which row of the store each row of a batch is; the rows of the tiny model all differ."""
    place = {row.tobytes(): i for i, row in enumerate(store.rows("train").numpy())}
    assert len(place) == store.count("train")
    return [place[row.tobytes()] for row in batch.numpy()]


def context_of(store):
    """The context that each row came from."""
    return np.repeat(np.arange(90), store.kept("train").sum(dim=1).numpy())


def test_what_a_trainer_needs_is_there(stores):
    _, store = stores()
    stream: ActivationStream = StoredStream(store, 100, 0)
    assert (stream.m, stream.batch_size, stream.sha256) == (32, 100, store.sha256)
    batch = stream.batch(3)
    assert (batch.shape, batch.dtype, batch.device.type) == ((100, 32), torch.float32, "cpu")


@pytest.mark.parametrize(("memory", "windows"), [(EVERYTHING, 1), (30 * 15 * ROW, 3), (13 * 15 * ROW, 7)])
@pytest.mark.parametrize("size", [64, 150])
def test_every_row_is_seen_once_per_pass_up_to_the_dropped_tails(stores, memory, windows, size):
    _, store = stores()
    stream = StoredStream(store, size, 5, memory)
    rows = [len(part) * 15 for part in np.array_split(np.arange(90), windows)]
    per_pass = sum(count // size for count in rows)
    for number in range(2):
        seen = [i for step in range(per_pass) for i in numbered(store, stream.batch(number * per_pass + step))]
        assert len(set(seen)) == len(seen) == per_pass * size > 90 * 15 - windows * size
    # The next batch begins another pass: it need not be disjoint from this one's, and with one window it is not.
    again = numbered(store, stream.batch(2 * per_pass))
    assert windows > 1 or set(again) & set(seen)


def test_with_one_window_the_order_is_uniform(stores):
    """Each row's mean place over many seeds is the middle, and neighbours in the store are none in a batch."""
    _, store = stores()
    context, rng = context_of(store), []
    for seed in range(60):
        batch = numbered(store, StoredStream(store, 675, seed).batch(0))
        rng.append(np.isin(np.arange(1350), batch))
        together = np.mean(context[batch[1:]] == context[batch[:-1]])
        assert together < 0.04  # 14/1349 by chance
    share = np.mean(rng, axis=0)
    assert abs(share - 0.5).max() < 0.36  # 5.5 standard deviations of 60 fair coins
    assert abs(share.reshape(90, 15).mean(axis=1) - 0.5).max() < 0.12


def test_a_batch_mixes_rows_of_many_shards(stores):
    _, store = stores()
    context = context_of(store)
    for memory, fewest in ((EVERYTHING, 10), (30 * 15 * ROW, 8), (10 * 15 * ROW, 3)):
        stream = StoredStream(store, 100, 0, memory)
        for step in (0, 1, 7, 12):
            assert len(set(context[numbered(store, stream.batch(step))] // 8)) >= fewest


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("contexts", [8, 13, 30, 90])
def test_a_window_fits_into_its_memory(stores, dtype, contexts):
    _, store = stores(dtype)
    memory = contexts * 15 * ROW * store.dtype.itemsize // 4
    stream = StoredStream(store, 100, 0, memory)
    windows = -(-90 // contexts)
    for step in range(20):
        stream.batch(step)
        assert stream._rows.dtype == store.dtype
        held = stream._rows.untyped_storage().nbytes()
        assert memory / 2 < held <= memory
        assert held == pytest.approx(90 / windows * 15 * 32 * store.dtype.itemsize, abs=15 * ROW)


def test_a_batch_is_a_function_of_seed_and_step_alone(stores):
    _, store = stores(drop_special=False, outlier_ratio=1.2)
    memory = 30 * 15 * ROW
    forward = [StoredStream(store, 32, 1, memory)] * 60
    batches = [stream.batch(step) for step, stream in enumerate(forward)]
    jumping = StoredStream(store, 32, 1, memory)
    for step in (59, 0, 31, 30, 58, 3, 31):
        assert torch.equal(jumping.batch(step), batches[step])
        assert torch.equal(StoredStream(store, 32, 1, memory).batch(step), batches[step])
    assert not torch.equal(StoredStream(store, 32, 2, memory).batch(0), batches[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("policy", [{}, {"drop_first": False, "outlier_ratio": None}, {"outlier_ratio": 1.1}])
@pytest.mark.parametrize("memory", [EVERYTHING, 25 * 15 * ROW])
def test_a_live_stream_is_the_stored_one_without_the_store(tiny_store, text_folder, stores, dtype, policy, memory):
    model, _ = tiny_store
    what, store = stores(dtype, **policy)
    contexts = what.contexts(model, TextSource([str(text_folder)]), "train")
    run = []
    live: ActivationStream = LiveStream(model, contexts, what, 50, 3, memory, run.append)
    stored = StoredStream(store, 50, 3, memory)
    assert (live.m, live.batch_size) == (stored.m, stored.batch_size)
    for step in (0, 1, 12, 40, 26):
        close = {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else {"rtol": 2**-7, "atol": 1e-3}
        torch.testing.assert_close(live.batch(step), stored.batch(step), **close)
    assert sum(run) >= 90 * 16
    same = LiveStream(model, contexts, what, 64, 9, memory)
    assert same.sha256 == live.sha256
    assert LiveStream(model, contexts, replace(what, layer=2), 50, 3, memory).sha256 != live.sha256


def test_outliers_are_passed_over_and_the_plan_does_not_depend_on_them(stores):
    """Half of the rows are outliers here: batches are whole, hold none, and repeat rows evenly."""
    _, store = stores(outlier_ratio=1.0)
    count = store.count("train")
    assert 0.3 < count / (90 * 15) < 0.7
    stream = StoredStream(store, 50, 0)
    seen = np.bincount([i for step in range(27) for i in numbered(store, stream.batch(step))], minlength=count)
    assert seen.sum() == 27 * 50
    assert seen.max() - seen.min() == 1
    first = np.bincount([i for step in range(count // 50) for i in numbered(store, stream.batch(step))])
    assert first.max() == 1


def test_the_sample_is_the_beginning_of_the_first_window(stores):
    _, store = stores()
    whole = StoredStream(store, 100, 4)
    assert sorted(numbered(store, whole.sample(10**6))) == list(range(1350))
    assert torch.equal(whole.sample(100), whole.batch(0))
    part = StoredStream(store, 100, 4, 30 * 15 * ROW)
    assert part.sample(10**6).shape == (450, 32)
    part.batch(30)
    assert torch.equal(part.sample(100), part.batch(0))
    assert part.sample(7).dtype == torch.float32
    with pytest.raises(InvalidArgument, match="count = 0"):
        part.sample(0)


def test_bad_arguments_are_named(tiny_store, text_folder, stores):
    what, store = stores()
    for arguments, says in (
        ((0, 0), "batch_size = 0"),
        ((1351, 0), "batch_size = 1351: must be at most 1350, the rows that are sure to be in each of 1 windows"),
        ((151, 0, 10 * 15 * ROW), r"must be at most 150, .* 9 windows \(or give more memory\)"),
        ((10, -1), "seed"),
        ((10, 0, 0), "memory_bytes = 0"),
        ((1, 0, 15 * ROW - 1), "memory_bytes = for 14 rows: must hold a context's 15 rows"),
        ((1.5, 0), "batch_size"),
    ):
        with pytest.raises(InvalidArgument, match=says):
            StoredStream(store, *arguments)
    with pytest.raises(InvalidArgument, match="step = -1"):
        StoredStream(store, 10, 0).batch(-1)
    contexts = what.contexts(tiny_store[0], TextSource([str(text_folder)]), "train")
    with pytest.raises(InvalidArgument, match="batch_size = 1351"):
        LiveStream(tiny_store[0], contexts, what, 1351, 0)


class TestWindows:
    @given(
        counts=st.lists(st.integers(0, 9), min_size=1, max_size=30),
        batch=st.integers(1, 12),
        seed=st.integers(0, 3),
        most=st.integers(1, 80),
    )
    def test_the_plan_of_any_counts(self, counts, batch, seed, most):
        counts = np.array(counts)
        try:
            windows = Windows(counts, batch, seed, most)
        except InvalidArgument:
            each = most // max(1, counts.max())
            fewest = 0 if each == 0 else np.sort(counts)[: len(counts) // -(-len(counts) // each)].sum()
            assert each == 0 or fewest < batch
            return
        expected = []  # (window, place) of each step, written down one by one
        for window in range(3 * windows.count):
            rows = counts[windows.contexts(window)].sum()
            assert batch <= rows <= most
            expected += [(window, place) for place in range(rows // batch)]
        assert [windows.locate(step) for step in range(len(expected))] == expected
        for number in range(3):
            inside = [windows.contexts(number * windows.count + i) for i in range(windows.count)]
            assert sorted(np.concatenate(inside)) == list(range(len(counts)))
            assert max(map(len, inside)) - min(map(len, inside)) <= 1
            assert all((np.diff(contexts) > 0).all() for contexts in inside)

    def test_passes_and_windows_are_shuffled_differently(self):
        windows = Windows(np.full(40, 5), 5, 0, 100)
        assert windows.count == 2
        assert not np.array_equal(windows.contexts(0), windows.contexts(2))
        assert not np.array_equal(windows.order(0, 100), windows.order(1, 100))
        assert sorted(windows.order(0, 100)) == list(range(100))

    def test_a_batch_beyond_the_rows_goes_round(self):
        windows = Windows(np.array([10]), 4, 0, 10)
        order = np.array([7, 3, 5])
        assert windows.batch(order, 0).tolist() == [7, 3, 5, 7]
        assert windows.batch(order, 1).tolist() == [3, 5, 7, 3]
