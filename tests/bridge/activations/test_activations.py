import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import save_tiny_model

from expander_theory import InvalidArgument, InvalidFile
from sae_bridge.activations import SPLITS, ActivationStore, Harvest, TokenPolicy, estimate, harvest
from sae_bridge.activations._shards import contexts_per_shard
from sae_bridge.activations.text import TextSource
from sae_bridge.commands.harvest import Harvest as Command
from sae_bridge.models.language_models import LanguageModel, load_language_model

WHAT = Harvest(layer=1, context=16, train_contexts=90, held_out_contexts=10)
CAT = 2  # the id of "cat" in the tokenizer of conftest


@pytest.fixture
def make(tiny_store, text_folder, tmp_path):
    """A function that harvests into a new folder."""
    model, _ = tiny_store
    return lambda what=WHAT, model=model, name="new": harvest(
        model, TextSource([str(text_folder)]), what, tmp_path / name, progress=False
    )


@pytest.fixture
def again(tiny_store, make, tmp_path):
    """A copy of the store's folder, and a function that harvests into it."""
    shutil.copytree(tiny_store[1].folder, tmp_path / "new")
    return tmp_path / "new", make


@pytest.fixture
def small_shards(monkeypatch):
    """Eight contexts a shard."""
    monkeypatch.setattr("sae_bridge.activations._shards._MOST_CONTEXTS", 8)


def with_bos(model, *, by_itself):
    """The model with a tokenizer whose BOS token is <unk>, id 0."""
    import copy

    from tokenizers.processors import TemplateProcessing

    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.bos_token = "<unk>"
    if by_itself:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<unk> $A", special_tokens=[("<unk>", 0)])
    return LanguageModel(model.name, model.model, tokenizer)


def by_hand(model, tokens, policy, special, limit=None, dtype=torch.float32):
    """Kept rows and positions, one position at a time, as the policy says in words."""
    kept = torch.zeros(tokens.shape, dtype=torch.bool)
    hidden = torch.cat([model.activations(part, 1) for part in tokens.split(8)]).to(dtype).float()
    for i, context in enumerate(tokens.tolist()):
        for j, token in enumerate(context):
            kept[i, j] = not (policy.drop_first and j == 0) and token not in special
            if limit is not None and hidden[i, j].double().norm() > limit:
                kept[i, j] = False
    return hidden[kept], kept


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_stored_is_the_model_s_residual_stream_at_the_positions_that_count(tiny_store, make, dtype):
    model, _ = tiny_store
    store = make(replace(WHAT, dtype=dtype))
    for split, contexts in (("train", 90), ("held_out", 10)):
        tokens = store.tokens(split)
        assert tokens.shape == (contexts, 16)
        rows, kept = by_hand(model, tokens, TokenPolicy(), [0], store.norm_limit, store.dtype)
        assert torch.equal(store.kept(split), kept)
        assert store.count(split) == int(kept.sum())
        assert store.rows(split).dtype == torch.float32
        torch.testing.assert_close(store.rows(split), rows, rtol=1e-5 if dtype == "float32" else 2**-7, atol=1e-6)
    assert store.description["layer"] == 1
    assert store.dtype == getattr(torch, dtype)


def test_bfloat16_takes_half_the_space(tiny_store, make):
    _, exact = tiny_store
    store = make(replace(WHAT, dtype="bfloat16"))
    # The norm limit is decided on the rounded activations, so it differs in the last bits alone.
    assert store.norm_limit == pytest.approx(exact.norm_limit, rel=2**-8)
    assert torch.equal(store.rows("train"), exact.rows("train").bfloat16().float())
    sizes = [(s.folder / "train-00000.safetensors").stat().st_size for s in (store, exact)]
    rows = int(exact.kept("train")[:64].sum())
    assert sizes[1] - sizes[0] == pytest.approx(rows * 32 * 2, abs=64)


@pytest.mark.parametrize(
    "policy",
    [
        TokenPolicy(),
        TokenPolicy(drop_first=False),
        TokenPolicy(drop_special=False),
        TokenPolicy(outlier_ratio=1.0),
        TokenPolicy(drop_first=False, drop_special=False, outlier_ratio=None),
    ],
)
def test_the_policy_decides_what_counts(tiny_store, make, policy):
    model, _ = tiny_store
    model = LanguageModel(model.name, model.model, with_special(model.tokenizer))
    store = make(replace(WHAT, policy=policy), model)
    special = [0, CAT] if policy.drop_special else []
    tokens = store.tokens("train")
    assert (tokens == CAT).any()
    before, _ = by_hand(model, tokens[:64], policy, special)
    ratio = policy.outlier_ratio
    limit = math.inf if ratio is None else ratio * float(before.double().norm(dim=1).median())
    assert store.norm_limit == pytest.approx(limit, rel=1e-2)  # torch takes the lower of two medians
    rows, kept = by_hand(model, tokens, policy, special, store.norm_limit)
    assert torch.equal(store.kept("train"), kept)
    torch.testing.assert_close(store.rows("train"), rows, rtol=1e-5, atol=1e-6)
    if ratio == 1.0:
        assert 0.3 < len(rows) / len(before) / 90 * 64 < 0.7
    recorded = store.description["policy"]
    assert recorded == {
        "bos_id": None,
        "drop_first": policy.drop_first,
        "special_ids": special,
        "outlier_ratio": ratio,
    }


def with_special(tokenizer):
    """A copy in which "cat" is special too."""
    import copy

    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"sep_token": "cat"})
    assert sorted(tokenizer.all_special_ids) == [0, CAT]
    return tokenizer


@pytest.mark.parametrize(
    ("bos", "by_itself", "there"),
    [(None, False, False), (None, True, True), (True, False, True), (True, True, True), (False, True, False)],
)
def test_bos_is_put_in_front_as_the_policy_says(tiny_store, make, bos, by_itself, there):
    model, plain = tiny_store
    store = make(replace(WHAT, policy=TokenPolicy(bos=bos)), with_bos(model, by_itself=by_itself))
    tokens = store.tokens("train")
    assert tokens.shape == (90, 16)
    assert bool((tokens[:, 0] == 0).all()) == there
    assert not (tokens[:, 1:] == 0).any()  # once, and in front alone
    assert store.description["policy"]["bos_id"] == (0 if there else None)
    if there:  # fifteen tokens of text a context, which begin the document as the sixteen do
        assert tokens[0, 1:].tolist() == plain.tokens("train")[0, :15].tolist()
    assert not store.kept("train")[:, 0].any()


def test_a_bos_that_the_tokenizer_lacks_is_refused(make, tmp_path):
    with pytest.raises(InvalidArgument, match=r"bos = True: the tokenizer .* has no BOS token"):
        make(replace(WHAT, policy=TokenPolicy(bos=True)))
    assert not (tmp_path / "new").exists()


def test_a_policy_that_keeps_nothing_is_refused(tiny_store, make, tmp_path):
    model, _ = tiny_store
    everything = SimpleNamespace(all_special_ids=range(30), get_vocab=model.tokenizer.get_vocab, bos_token_id=None)
    tokenizer = type("All", (), {**vars(everything), "__call__": lambda self, *a, **k: model.tokenizer(*a, **k)})()
    with pytest.raises(InvalidArgument, match="leaves none of the train tokens"):
        make(model=LanguageModel(model.name, model.model, tokenizer))
    assert not (tmp_path / "new").exists()


def test_the_description_says_everything(tiny_store, text_folder):
    model, store = tiny_store
    about = store.description
    assert about["kind"] == "expander-activations"
    assert about["version"] == 2
    assert (about["model"], about["model_fingerprint"]) == (model.name, model.fingerprint)
    assert (about["layer"], about["hook"], about["m"], about["context"]) == (1, "resid_post", 32, 16)
    assert (about["dtype"], about["contexts"]) == ("float32", {"train": 90, "held_out": 10})
    assert about["text_sha256"] == TextSource([str(text_folder)]).sha256
    assert about["tokenizer"] == type(model.tokenizer).__name__
    assert len(about["vocabulary_sha256"]) == 64
    assert about["policy"] == {"bos_id": None, "drop_first": True, "special_ids": [0], "outlier_ratio": 6.0}


def test_the_splits_share_no_document(tiny_store, text_folder):
    _, store = tiny_store
    train = {tuple(context) for context in store.tokens("train").tolist()}
    held_out = {tuple(context) for context in store.tokens("held_out").tolist()}
    assert not train & held_out
    documents = TextSource([str(text_folder)]).documents
    for split in SPLITS:
        numbers = store.documents(split)
        assert len(numbers) == len(store.tokens(split))
        assert all(documents[i].held_out == (split == "held_out") for i in numbers)
        assert store.description["documents"][split] == len(set(numbers.tolist()))


@pytest.mark.parametrize("size", [1, 7, 100, 5000])
def test_batches_are_the_rows_in_order(small_shards, make, size):
    store = make()
    batches = list(store.batches("train", size))
    assert all(len(batch) == size for batch in batches[:-1])
    assert 0 < len(batches[-1]) <= size
    assert torch.equal(torch.cat(batches), store.rows("train"))


def test_rows_of_some_contexts_are_read_without_the_rest(small_shards, make, monkeypatch):
    store = make(replace(WHAT, dtype="bfloat16", policy=TokenPolicy(outlier_ratio=1.0)))
    kept = store.kept("train").sum(dim=1).numpy()
    place = np.repeat(np.arange(90), kept)
    read = []
    whole = store._shards.read_rows
    monkeypatch.setattr(store._shards, "read_rows", lambda *a: read.append(a) or whole(*a))
    for contexts in ([0], [3, 4, 5, 8, 20, 89], list(range(90)), [7, 8]):
        found = store.context_rows("train", np.array(contexts))
        assert found.dtype == torch.bfloat16
        assert torch.equal(found.float(), store.rows("train")[torch.from_numpy(np.isin(place, contexts))])
    assert sum(last - first for *_, first, last in read) == kept[[0, 3, 4, 5, 8, 20, 89, 7, 8]].sum() + kept.sum()
    with pytest.raises(InvalidArgument, match="split"):
        store.rows("test")
    with pytest.raises(InvalidArgument, match="size = 0"):
        next(store.batches("train", 0))


def test_a_harvest_resumes_and_gives_the_same_bytes(again):
    folder, run = again
    before = _bytes(folder)
    (folder / "train-00001.safetensors").unlink()
    (folder / "held_out-00000.safetensors").unlink()
    (folder / ".train-00001.safetensors.k1lled").write_bytes(b"half a shard")
    with pytest.raises(InvalidFile, match="2 shards missing"):
        ActivationStore(folder)
    run()
    assert _bytes(folder) == before
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) in ([], [".harvest.lock"])


def test_the_limit_of_the_norm_survives_the_loss_of_any_shard(small_shards, make):
    what = replace(WHAT, policy=TokenPolicy(outlier_ratio=1.0))
    folder = make(what).folder
    before = _bytes(folder)
    for name in ("train-00000", "train-00005"):
        (folder / f"{name}.safetensors").unlink()
        make(what)
        assert _bytes(folder) == before


def _bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_the_spelling_of_paths_is_no_part_of_a_harvest(again, tiny_store, tiny_model_folder):
    folder, run = again
    before = _bytes(folder)
    store = run(model=load_language_model(f"{tiny_model_folder}/../{tiny_model_folder.name}"))
    assert _bytes(folder) == before
    assert store.sha256 == tiny_store[1].sha256
    assert store.sha256 != run(replace(WHAT, layer=2), name="other").sha256


def test_the_fingerprint_sees_changes_anywhere(tiny_model_folder):
    one, other = (load_language_model(str(tiny_model_folder)) for _ in range(2))
    assert one.fingerprint == other.fingerprint
    with torch.no_grad():
        other = load_language_model(str(tiny_model_folder))
        other.model.model.layers[2].mlp.up_proj.weight[-1, -1] += 1
    assert one.fingerprint != other.fingerprint


def test_contexts_and_tokens_beyond_the_model_are_refused_before_a_folder_is_claimed(
    tiny_store, make, tmp_path, monkeypatch
):
    with pytest.raises(InvalidArgument, match="context = 65: must be at most 64"):
        make(Harvest(context=65))
    monkeypatch.setattr(type(tiny_store[0]), "vocabulary", 3)
    with pytest.raises(InvalidArgument, match="token id"):
        make()
    assert not (tmp_path / "new").exists()


def test_another_harvest_in_the_same_folder_is_refused(again, tmp_path):
    folder, run = again
    before = _bytes(folder)
    with pytest.raises(InvalidFile, match="layer is 1 there and 2 here; choose"):
        run(replace(WHAT, layer=2))
    with pytest.raises(InvalidFile, match=r"policy\.drop_first is True there and False here; choose"):
        run(replace(WHAT, policy=TokenPolicy(drop_first=False)))
    with pytest.raises(InvalidFile, match="dtype is 'float32' there and 'bfloat16' here; choose"):
        run(replace(WHAT, dtype="bfloat16"))
    with pytest.raises(InvalidFile, match="model_fingerprint"):
        run(model=load_language_model(str(save_tiny_model(tmp_path / "other", seed=5))))
    assert _bytes(folder) == before


def test_a_folder_of_other_things_is_refused(make, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.tex").write_text("precious")
    with pytest.raises(InvalidFile, match="not empty"):
        make()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["thesis.tex"]


def test_the_layer_at_half_depth_is_the_default(tiny_store, make):
    what = Harvest(context=16, train_contexts=2, held_out_contexts=1)
    assert make(what).description["layer"] == 1
    found = estimate(tiny_store[0], what)
    assert (found.tokens, found.disk) == (48, 48 * 32 * 4)
    assert estimate(tiny_store[0], replace(what, dtype="bfloat16")).disk == 48 * 32 * 2
    assert found.memory > sum(p.numel() * 4 for p in tiny_store[0].model.parameters())
    assert "harvest of 48 tokens: about 0.00 GiB on disk" in str(found)


def test_the_estimate_is_printed_first(tiny_store, text_folder, tmp_path, capsys):
    harvest(tiny_store[0], TextSource([str(text_folder)]), WHAT, tmp_path / "s")
    assert capsys.readouterr().err.startswith("harvest of 1,600 tokens: about 0.00 GiB on disk (")


def test_shards_stay_small():
    assert contexts_per_shard(576, 128, "float32") == 64
    assert contexts_per_shard(2048, 1024, "float32") * 2048 * 1024 * 4 == 64 << 20
    assert contexts_per_shard(2048, 1024, "bfloat16") == 16
    assert contexts_per_shard(10**6, 10**6, "float32") == 1


def test_bad_arguments_are_named(make, tmp_path):
    for change in ({"context": 2}, {"train_contexts": 0}, {"batch": 0}, {"dtype": "float16"}, {"hook": "mlp"}):
        with pytest.raises(InvalidArgument, match=next(iter(change))):
            Harvest(**change)
    for ratio in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InvalidArgument, match="outlier_ratio"):
            TokenPolicy(outlier_ratio=ratio)
    with pytest.raises(InvalidArgument, match="layer = 9"):
        make(Harvest(layer=9))
    with pytest.raises(InvalidArgument, match="split"):
        WHAT.contexts(None, None, "test")
    assert not (tmp_path / "new").exists()


def test_the_command_passes_everything_on(tiny_model_folder, text_folder, tmp_path, capsys):
    command = Command(
        out=tmp_path / "s", model=str(tiny_model_folder), text=(str(text_folder),), layer=(2,), hook=("resid_pre",),
        context=16, tokens=100,
        held_out_tokens=20, dtype="bfloat16", no_bos=True, keep_first=True, keep_special=True, outlier_ratio=None,
    )  # fmt: skip
    command.run()
    assert "7 training and 2 held-out contexts of 16 tokens, resid_pre of layer 2, m = 32" in capsys.readouterr().out
    about = json.loads((tmp_path / "s" / "activations.json").read_text())
    assert about["policy"] == {"bos_id": None, "drop_first": False, "special_ids": [], "outlier_ratio": None}
    assert about["dtype"] == "bfloat16"
    with pytest.raises(InvalidArgument, match="contradicts --no-bos"):
        replace(command, bos=True).run()
    with pytest.raises(InvalidArgument, match="no BOS token"):
        replace(command, bos=True, no_bos=False, out=tmp_path / "t").run()
