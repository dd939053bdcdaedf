"""Probes on features that hold a label or do not, and texts as single vectors against a naive mean."""

import json
import sys
import warnings

import numpy as np
import pytest
import torch

from expander_theory import InvalidArgument
from expander_theory.cli import main
from sae_bridge.probing import LabelledTexts, pooled, probes
from sae_bridge.probing.probe import _balanced
from sae_bridge.sae import TopKSAE

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "small", "dog", "run"]


def labelled(labels, test=None):
    count = len(labels)
    test = [i % 3 == 0 for i in range(count)] if test is None else test
    return LabelledTexts("made", tuple(f"t{i}" for i in range(count)), tuple(map(str, labels)), tuple(test))


def test_a_feature_for_each_label_is_found_and_tells_it_exactly():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=300)
    x = np.abs(rng.standard_normal((300, 40))).astype(np.float32)
    for label, feature in ((0, 31), (1, 7), (2, 20)):
        x[:, feature] = 1e-3 * (labels == label)
    one, two = probes("x", x, labelled(labels), (1, 2))
    assert (one.accuracy, one.low, one.high) == (1, 1, 1)
    assert one.chosen == {"0": [31], "1": [7], "2": [20]}
    assert (one.features, one.k, two.k) == ("x", 1, 2)
    assert [two.chosen[label][0] for label in "012"] == [31, 7, 20]


def test_a_feature_that_is_active_without_the_label_is_as_good():
    labels = np.arange(60) % 2
    x = np.random.default_rng(1).random((60, 9))
    x[:, 4] = 5.0 - labels
    found = probes("x", x, labelled(labels), (1,))[0]
    assert (found.accuracy, found.chosen) == (1, {"0": [4], "1": [4]})


@pytest.mark.parametrize("k", [1, 5, None])
def test_features_that_know_nothing_are_at_one_half_whatever_the_classes_sizes(k):
    covered, accuracies = 0, []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        labels = (rng.random(240) < 0.2).astype(int)
        found = probes("x", rng.standard_normal((240, 10)), labelled(labels), (k,), seed=seed)[0]
        covered += found.low <= 0.5 <= found.high
        accuracies.append(found.accuracy)
        assert found.low < found.accuracy < found.high
    assert np.mean(accuracies) == pytest.approx(0.5, abs=0.05)
    assert covered >= 6


def test_more_features_than_there_are_is_left_out_and_none_is_all():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    x = rng.standard_normal((60, 5)) + labels[:, None]
    found = probes("x", x, labelled(labels), (1, 5, 6, None))
    assert [probe.k for probe in found] == [1, 5, None]
    assert found[1].accuracy == found[2].accuracy > 0.7
    assert sorted(found[1].chosen["0"]) == list(range(5))
    assert found[2].chosen == {"0": [], "1": []}


def test_the_same_seed_gives_the_same_interval_and_constant_features_do_no_harm():
    rng = np.random.default_rng(0)
    labels = np.arange(90) // 3 % 3
    x = rng.standard_normal((90, 6)) + (labels == 1)[:, None]
    first, again = (probes("x", x, labelled(labels), (2,), seed=4)[0] for _ in range(2))
    assert first == again
    beside = np.concatenate([x, np.full((90, 2), 0.1)], axis=1)
    assert probes("x", beside, labelled(labels), (2,), seed=4)[0] == first
    other = probes("x", x, labelled(labels), (2,), seed=5)[0]
    assert other.accuracy == first.accuracy
    assert (other.low, other.high) != (first.low, first.high)


def test_accuracy_is_the_mean_over_labels_of_balanced_accuracy():
    own = np.tile(np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0]], bool), 10)
    right = np.tile(np.array([[1, 0, 1, 1, 1, 0], [1, 1, 1, 1, 0, 1]], bool), 10)
    expected = ((1 / 2 + 3 / 4) / 2 + (2 / 3 + 1) / 2) / 2
    labels = np.tile(np.array(["a", "a", "b", "b", "b", "c"]), 10)
    assert _balanced(list(zip(own, right, strict=True)), labels, 0)[0] == pytest.approx(expected)


def test_test_texts_do_not_choose_features():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 2
    texts = labelled(labels)
    x = rng.standard_normal((90, 6))
    before = probes("x", x, texts, (2,))[0].chosen
    x[np.asarray(texts.test)] += 9 * labels[np.asarray(texts.test)][:, None] * np.arange(6)
    assert probes("x", x, texts, (2,))[0].chosen == before


def test_arguments_that_do_not_fit_are_named():
    texts = labelled(np.arange(30) % 2)
    with pytest.raises(InvalidArgument, match="ks"):
        probes("x", np.ones((30, 2)), texts, (0,))
    with pytest.raises(InvalidArgument, match="must have a row for each of 30 texts"):
        probes("x", np.ones((29, 2)), texts, (1,))


def test_a_rare_label_has_an_interval_too():
    """With 2 of 20 test texts, every eighth resample has none of it, and no balanced accuracy."""
    labels = np.array([i % 15 == 0 for i in range(60)])
    x = np.random.default_rng(0).standard_normal((60, 4))
    test = [i % 3 == 0 if i % 15 else i % 2 == 0 for i in range(60)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = probes("x", x, labelled(labels, test), (1,))[0]
    assert 0 <= found.low <= found.accuracy <= found.high <= 1


@pytest.mark.parametrize("which", ["training", "testing"])
def test_a_sample_with_one_label_in_a_part_is_a_clear_error(which):
    """As `--documents 5` may leave it."""
    test = [i % 3 == 0 for i in range(12)]
    labels = [0 if t == (which == "testing") else i % 2 for i, t in enumerate(test)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(InvalidArgument, match="label"):
            probes("x", np.random.default_rng(0).standard_normal((12, 3)), labelled(labels, test), (1,))


def texts_of_words(count, longest=40):
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(2, longest))) for _ in range(count)]


@pytest.fixture(scope="module")
def saes():
    return {"a": TopKSAE(32, 48, 4, seed=0).eval(), "b": TopKSAE(32, 40, 3, seed=1).eval()}


def test_a_pooled_text_is_the_mean_over_its_tokens_that_count(tiny_store, saes):
    model, store = tiny_store
    texts = [*texts_of_words(11), "cat sat"]
    found = pooled(texts, model, store, saes, progress=False)
    about = store.description
    lengths = set()
    for i, text in enumerate(texts):
        ids = model.tokenizer(text)["input_ids"][: about["context"]]
        hidden = model.activations(torch.tensor([ids]), about["layer"], about["hook"])[0]
        kept = [t for t in range(1, len(ids)) if float(hidden[t].norm()) <= store.norm_limit]
        lengths.add(len(ids))
        np.testing.assert_allclose(found.raw[i], hidden[kept].mean(0), atol=1e-5)
        for name, sae in saes.items():
            code = np.zeros(sae.n)
            acts, indices = sae.encode(hidden[kept])
            np.add.at(code, indices.numpy().ravel(), acts.detach().numpy().ravel() / len(kept))
            np.testing.assert_allclose(found.codes[name][i], code, atol=1e-5)
    assert len(lengths) > 3
    assert max(lengths) == about["context"]
    assert (found.codes["a"].shape, found.codes["b"].shape) == ((12, 48), (12, 40))


@pytest.mark.parametrize("size", [1, 3, 100])
def test_batches_and_neighbours_change_nothing(tiny_store, saes, monkeypatch, size):
    model, store = tiny_store
    texts = ["cat sat", *texts_of_words(9), "a mat and"]
    before = pooled(texts, model, store, saes, progress=False)
    monkeypatch.setattr(sys.modules[pooled.__module__], "_TEXTS", size)
    found = pooled(texts, model, store, saes, progress=False)
    np.testing.assert_allclose(found.raw, before.raw, atol=1e-5)
    for name in saes:
        np.testing.assert_allclose(found.codes[name], before.codes[name], atol=1e-5)
    turned = pooled(texts[::-1], model, store, saes, progress=False)
    np.testing.assert_allclose(turned.raw[::-1], before.raw, atol=1e-5)


def test_what_lies_beyond_the_context_does_not_count(tiny_store, saes):
    model, store = tiny_store
    start = " ".join((WORDS * 2)[: store.description["context"]])
    found = pooled([start, f"{start} dog dog dog"], model, store, saes, progress=False)
    np.testing.assert_array_equal(found.raw[0], found.raw[1])


@pytest.mark.parametrize("empty", ["", "cat", "cat xyzzy <unk>"])
def test_a_text_of_which_no_token_counts_is_named(tiny_store, saes, empty):
    model, store = tiny_store
    with pytest.raises(InvalidArgument, match="text 9 has no token that counts"):
        pooled([*texts_of_words(9), empty, "the cat sat"], model, store, saes, progress=False)


def test_the_command_shows_and_writes_every_probe(tmp_path, tiny_store, saes, capsys):
    _, store = tiny_store
    saes["a"].save(tmp_path / "sae", {})
    rng = np.random.default_rng(0)
    rows = [f"{' '.join(rng.choice(WORDS[6 * (i % 2) :][:6], 12))},{'ab'[i % 2]}" for i in range(90)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
    given = ["--texts", tmp_path / "texts.csv", "--ks", "1", "40", "--out", tmp_path / "out.json", "--documents", "80"]
    words = ["sae", "probe", store.folder, tmp_path / "sae", *given, "--other-activations", "--other-place"]
    main([str(word) for word in words])
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["documents"], found["labels"]) == (80, ["a", "b"])
    names = [str(tmp_path / "sae"), "coordinate null, k = 4", "coordinates", "principal components", "all coordinates"]
    assert list(dict.fromkeys(row["features"] for row in found["probes"])) == names
    rows = [(names.index(row["features"]), row["k"]) for row in found["probes"]]
    assert rows[:4] == [(0, 1), (0, 40), (1, 1), (2, 1)]
    assert next(row for row in found["probes"] if row["k"] is None)["accuracy"] > 0.9
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)
    assert "80 texts, " in shown
    with pytest.raises(SystemExit):
        main([str(word) for word in words])
