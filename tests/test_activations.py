import json
import shutil

import pytest
import torch
from conftest import save_tiny_model

from expander_theory import InvalidArgument, InvalidFile
from sae_bridge.activations import ActivationStore, Harvest, estimate, harvest
from sae_bridge.language_models import load_language_model
from sae_bridge.text import TextSource

WHAT = Harvest(layer=1, context=16, train_contexts=90, held_out_contexts=10)


@pytest.fixture
def again(tiny_store, text_folder, tmp_path):
    """A copy of the store's folder, and a function that harvests into it."""
    model, store = tiny_store
    folder = tmp_path / "store"
    shutil.copytree(store.folder, folder)
    return folder, lambda what=WHAT, model=model: harvest(
        model, TextSource([str(text_folder)]), what, folder, progress=False
    )


def test_what_is_stored_is_the_model_s_residual_stream_without_first_tokens(tiny_store):
    model, store = tiny_store
    tokens = store.tokens("held_out")
    assert tokens.shape == (10, 16)
    expected = model.activations(tokens, 1)[:, 1:].flatten(0, 1)
    kept = expected[expected.norm(dim=1) <= store.norm_limit]
    torch.testing.assert_close(store.rows("held_out"), kept)
    assert store.rows("train").shape == (90 * 15, 32)
    assert store.description["layer"] == 1
    assert store.description["left_out"].startswith("the first token")


def test_the_splits_share_no_document(tiny_store, text_folder):
    _, store = tiny_store
    train = {tuple(context) for context in store.tokens("train").tolist()}
    held_out = {tuple(context) for context in store.tokens("held_out").tolist()}
    assert not train & held_out
    documents = TextSource([str(text_folder)]).documents
    for split in ("train", "held_out"):
        numbers = store.documents(split)
        assert len(numbers) == len(store.tokens(split))
        assert all(documents[i].held_out == (split == "held_out") for i in numbers)
        assert store.description["documents"][split] == len(set(numbers.tolist()))


def test_outliers_are_left_out(tiny_store, monkeypatch):
    _, store = tiny_store
    monkeypatch.setattr("sae_bridge.activations.OUTLIER_RATIO", 1.0)
    halved = ActivationStore(store.folder)
    assert 0.3 < len(halved.rows("train")) / len(store.rows("train")) < 0.7
    assert halved.rows("train").norm(dim=1).max() <= halved.norm_limit


def test_a_harvest_resumes_and_gives_the_same_bytes(again):
    folder, run = again
    before = _bytes(folder)
    (folder / "train-00001.safetensors").unlink()
    (folder / "held_out-00000.safetensors").unlink()
    with pytest.raises(InvalidFile, match="2 shards missing"):
        ActivationStore(folder)
    run()
    assert _bytes(folder) == before


def _bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_the_spelling_of_paths_is_no_part_of_a_harvest(again, text_folder, tiny_model_folder):
    folder, run = again
    before = _bytes(folder)
    run(model=load_language_model(f"{tiny_model_folder}/../{tiny_model_folder.name}"))
    assert _bytes(folder) == before


def test_the_fingerprint_sees_changes_anywhere(tiny_model_folder):
    one, other = (load_language_model(str(tiny_model_folder)) for _ in range(2))
    assert one.fingerprint == other.fingerprint
    with torch.no_grad():
        other = load_language_model(str(tiny_model_folder))
        other.model.model.layers[2].mlp.up_proj.weight[-1, -1] += 1
    assert one.fingerprint != other.fingerprint


def test_shards_out_of_place_are_refused(again):
    folder, _ = again
    (folder / "held_out-00000.safetensors").write_bytes((folder / "train-00000.safetensors").read_bytes())
    store = ActivationStore(folder)
    for read in (store.rows, store.tokens, store.documents):
        with pytest.raises(InvalidFile, match="holds shard 0 of split 'train'"):
            read("held_out")


def test_contexts_and_tokens_beyond_the_model_are_refused_before_a_folder_is_claimed(
    tiny_store, text_folder, tmp_path, monkeypatch
):
    model, _ = tiny_store
    text = TextSource([str(text_folder)])
    with pytest.raises(InvalidArgument, match="context = 65: must be at most 64"):
        harvest(model, text, Harvest(context=65), tmp_path / "a", progress=False)
    monkeypatch.setattr(type(model), "vocabulary", 3)
    with pytest.raises(InvalidArgument, match="token id"):
        harvest(model, text, WHAT, tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists()


def test_another_harvest_in_the_same_folder_is_refused(again, tmp_path):
    folder, run = again
    before = _bytes(folder)
    with pytest.raises(InvalidFile, match="layer is 1 there and 2 here"):
        run(Harvest(layer=2, context=16, train_contexts=90, held_out_contexts=10))
    with pytest.raises(InvalidFile, match="model_fingerprint"):
        run(model=load_language_model(str(save_tiny_model(tmp_path / "other", seed=5))))
    assert _bytes(folder) == before


def test_a_folder_of_other_things_is_refused(tiny_store, text_folder, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InvalidFile, match="not empty"):
        harvest(tiny_store[0], TextSource([str(text_folder)]), WHAT, tmp_path, progress=False)


def test_damage_is_reported(again):
    folder, _ = again
    shard = folder / "train-00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(InvalidFile, match="SHA-256"):
        ActivationStore(folder).rows("train")
    description = json.loads((folder / "activations.json").read_text())
    (folder / "activations.json").write_text(json.dumps({**description, "version": 9}))
    with pytest.raises(InvalidFile, match="newer"):
        ActivationStore(folder)
    (folder / "activations.json").write_text('{"kind": "expander-activations", "version": 1}')
    with pytest.raises(InvalidFile, match="lacks m"):
        ActivationStore(folder)
    (folder / "activations.json").write_text("{")
    with pytest.raises(InvalidFile, match="damaged"):
        ActivationStore(folder)
    with pytest.raises(InvalidFile, match="expander sae harvest"):
        ActivationStore(folder.parent)


def test_the_layer_at_half_depth_is_the_default(tiny_store, text_folder, tmp_path):
    what = Harvest(context=16, train_contexts=2, held_out_contexts=1)
    store = harvest(tiny_store[0], TextSource([str(text_folder)]), what, tmp_path / "s", progress=False)
    assert store.description["layer"] == 1
    assert "GiB on disk" in estimate(tiny_store[0], what)


def test_bad_arguments_are_named(tiny_store, text_folder, tmp_path):
    for change in ({"context": 2}, {"train_contexts": 0}, {"batch": 0}):
        with pytest.raises(InvalidArgument, match=next(iter(change))):
            Harvest(**change)
    with pytest.raises(InvalidArgument, match="layer = 9"):
        harvest(tiny_store[0], TextSource([str(text_folder)]), Harvest(layer=9), tmp_path / "s", progress=False)
    assert not (tmp_path / "s").exists()
