"""Offline scores of features: planted ones whose answers are known, and scikit-learn's AUC."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from support.stores import MemoryStore, fake_sae

from expander_theory import InvalidArgument
from sae_bridge.features import auc, feature_scores
from sae_bridge.features.scores import A_TOKEN
from sae_bridge.sae import coordinate_null

IDS, CONTEXT = 12, 24
TOKEN, AFTER, RANDOM, SIGNED, PAIR, RARE = range(6)
N = 6


class Contexts(MemoryStore):
    """Also answers for single contexts; each training context is its own document, by default."""

    def context_rows(self, split, contexts):
        return self._hidden[split][contexts][self._kept[split][contexts]]

    own_documents = None

    def documents(self, split):
        return np.arange(len(self._hidden[split])) if self.own_documents is None else self.own_documents[split]


def planted(train=150, held_out=80, seed=0, documents=None, drop=0.0):
    """Uniform tokens, features that say where they fire, and a code which reads them.

    TOKEN fires on token 3; AFTER on what follows token 5; RANDOM anywhere; SIGNED positively on token 1 and negatively
    on token 2; PAIR on 7 and 8 alike; RARE thrice in all.
    """
    rng = np.random.default_rng(seed)
    tokens, hidden, kept = {}, {}, {}
    for split, count in (("train", train), ("held_out", held_out)):
        ids = rng.integers(IDS, size=(count, CONTEXT))
        codes = np.zeros((count, CONTEXT, N), np.float32)
        codes[..., TOKEN] = 2 * (ids == 3)
        codes[:, 1:, AFTER] = ids[:, :-1] == 5
        codes[..., RANDOM] = rng.random(ids.shape) < 0.1
        codes[..., SIGNED] = 1.0 * (ids == 1) - (ids == 2)
        codes[..., PAIR] = (ids == 7) | (ids == 8)
        codes[:3, 0, RARE] = 1
        tokens[split], hidden[split] = torch.from_numpy(ids), torch.from_numpy(codes)
        kept[split] = torch.from_numpy(rng.random(ids.shape) >= drop)
    store = Contexts(hidden, kept, tokens=tokens)
    store.own_documents = documents
    sae = fake_sae(lambda h: (h, torch.arange(N).expand(len(h), -1)), None, N, N)
    sae.device = torch.device("cpu")
    return sae, store


@pytest.fixture(scope="module")
def scores():
    return feature_scores(*planted(), progress=False)


def of(scores, feature, sign=1):
    """The scores of one unit, by name."""
    at = np.flatnonzero((scores.feature == feature) & (scores.sign == sign))
    assert len(at) == 1
    return {
        name: float(getattr(scores, name)[at[0]])
        for name in ("rate", "token_auc", "window_auc", "entropy", "consistency")
    }


def test_units_are_features_with_signs_that_fire_often_enough(scores):
    units = list(zip(scores.feature.tolist(), scores.sign.tolist(), strict=True))
    assert units == [(TOKEN, 1), (AFTER, 1), (RANDOM, 1), (SIGNED, 1), (SIGNED, -1), (PAIR, 1)]
    assert scores.window == 5
    every = feature_scores(*planted(), least=1, progress=False)
    assert (RARE, 1) in zip(every.feature.tolist(), every.sign.tolist(), strict=True)


def test_a_token_is_a_token(scores):
    found = of(scores, TOKEN)
    assert found["token_auc"] == found["window_auc"] == 1
    assert found["entropy"] == 0
    assert found["consistency"] == 1
    assert found["rate"] == pytest.approx(1 / IDS, rel=0.15)
    pair = of(scores, PAIR)
    assert pair["token_auc"] == 1
    assert pair["entropy"] == pytest.approx(1, abs=0.01)


def test_the_two_signs_are_two_tokens(scores):
    for sign in (1, -1):
        assert of(scores, SIGNED, sign)["token_auc"] == 1
        assert of(scores, SIGNED, sign)["entropy"] == 0


def test_what_the_preceding_token_says_needs_the_window(scores):
    found = of(scores, AFTER)
    assert found["token_auc"] == pytest.approx(0.5, abs=0.08)
    assert found["window_auc"] > 0.97
    assert found["entropy"] == pytest.approx(np.log2(IDS), abs=0.1)
    alone = of(feature_scores(*planted(), window=1, progress=False), AFTER)
    assert alone["window_auc"] == alone["token_auc"] == found["token_auc"]


def test_a_random_feature_is_neither(scores):
    found = of(scores, RANDOM)
    assert found["token_auc"] == pytest.approx(0.5, abs=0.08)
    assert found["window_auc"] == pytest.approx(0.5, abs=0.08)


def test_features_without_tokens_of_their_own_are_not_identified():
    """Twenty random features: no half is more like its own other half than like another's, but by chance."""
    rng = np.random.default_rng(1)
    ids = {split: torch.from_numpy(rng.integers(IDS, size=(120, CONTEXT))) for split in ("train", "held_out")}
    codes = {split: torch.from_numpy((rng.random((120, CONTEXT, 20)) < 0.1).astype(np.float32)) for split in ids}
    sae = fake_sae(lambda h: (h, torch.arange(20).expand(len(h), -1)), None, 20, 20)
    sae.device = torch.device("cpu")
    found = feature_scores(sae, Contexts(codes, tokens=ids), progress=False)
    assert len(found.feature) == 20
    assert found.consistency.mean() == pytest.approx(0.5, abs=0.2)
    assert found.summary()["identified"] <= 0.25
    assert found.summary()["tokens"] == 0
    assert np.abs(found.token_auc - 0.5).max() < 0.12


def test_the_summary_is_of_the_arrays(scores):
    found = scores.summary()
    assert found["units"] == 6
    assert found["tokens"] == pytest.approx((scores.token_auc >= A_TOKEN).mean()) == pytest.approx(4 / 6)
    assert found["entropy"] == pytest.approx(np.quantile(scores.entropy, [0.25, 0.5, 0.75]))
    assert found["identified"] == pytest.approx((scores.consistency == 1).mean())
    assert found["identified"] >= 4 / 6


def test_scores_by_loops():
    """Token AUC, entropy and consistency from their definitions, where some positions do not count."""
    sae, store = planted(train=60, held_out=50, seed=2, drop=0.3)
    found = feature_scores(sae, store, least=5, progress=False)
    ids = {split: store.tokens(split).numpy() for split in ("train", "held_out")}
    kept = {split: store.kept(split).numpy() for split in ids}
    codes = {split: store._hidden[split].numpy() for split in ids}
    counts = {}
    for half in (0, 1):
        for j, s in zip(found.feature, found.sign, strict=True):
            table = np.zeros(IDS)
            for c in range(half, 60, 2):
                for t in range(CONTEXT):
                    if kept["train"][c, t] and np.sign(codes["train"][c, t, j]) == s:
                        table[ids["train"][c, t]] += 1
            counts[half, j, s] = table
    seen = np.bincount(ids["train"][kept["train"]], minlength=IDS)
    units = list(zip(found.feature, found.sign, strict=True))
    like = np.array([[np.sqrt(_share(counts[1, *u]) * _share(counts[0, *v])).sum() for v in units] for u in units])
    for i, (j, s) in enumerate(units):
        table = counts[0, j, s] + counts[1, j, s]
        share = _share(table)[table > 0]
        assert found.entropy[i] == pytest.approx(-(share * np.log2(share)).sum(), abs=1e-9)
        fires = np.sign(codes["held_out"][..., j][kept["held_out"]]) == s
        rate = (table + 4 * table.sum() / seen.sum()) / (seen + 4)
        expected = roc_auc_score(fires, rate[ids["held_out"][kept["held_out"]]])
        assert found.token_auc[i] == pytest.approx(expected)
        assert found.rate[i] == pytest.approx(fires.mean())
        others = np.delete(like[i], i)
        close = np.abs(others - like[i, i]) < 1e-6
        expected = ((others < like[i, i]) & ~close).mean() + close.mean() / 2
        assert found.consistency[i] == pytest.approx(expected, abs=close.mean() / 2 + 1e-9)


def _share(table):
    return table / max(table.sum(), 1)


def test_window_scores_do_not_see_across_contexts():
    """A feature which fires where the last token of the context before was 5: nothing in its window says so."""
    sae, store = planted(seed=3)
    for split in ("train", "held_out"):
        ids, codes = store.tokens(split), store._hidden[split]
        codes[..., RANDOM] = 0
        codes[1:, 0, RANDOM] = (ids[:-1, -1] == 5).float()
        codes[:, 0, AFTER] = 1  # and at every start: only "nothing before" says it
    found = of(feature_scores(sae, store, least=2, progress=False), RANDOM)
    starts = store._hidden["held_out"][..., RANDOM].numpy()
    assert starts[:, 1:].sum() == 0
    assert found["window_auc"] < 0.99


def test_the_same_again_and_from_a_part_of_the_text():
    first, second = (feature_scores(*planted(), seed=4, progress=False) for _ in range(2))
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    part = feature_scores(*planted(), contexts=60, progress=False)
    sae, store = planted()
    short = Contexts(
        {"train": store._hidden["train"][:60], "held_out": store._hidden["held_out"]},
        tokens={"train": store.tokens("train")[:60], "held_out": store.tokens("held_out")},
    )
    whole = feature_scores(sae, short, progress=False)
    for name in vars(part):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name))


def test_halves_are_of_documents():
    """With one document there is no second half, so no unit."""
    documents = {"train": np.zeros(150, np.int32), "held_out": np.arange(80)}
    found = feature_scores(*planted(documents=documents), progress=False)
    assert len(found.feature) == 0
    assert found.summary() == {
        "units": 0, "token_auc": None, "window_auc": None, "entropy": None, "consistency": None,
        "tokens": None, "identified": None,
    }  # fmt: skip


@pytest.mark.parametrize("how", [{"window": 0}, {"least": 0}, {"window": 1.5}, {"contexts": 0}], ids=str)
def test_scores_that_are_none(how):
    with pytest.raises(InvalidArgument, match="must be"):
        feature_scores(*planted(train=6, held_out=4), progress=False, **how)


def test_a_window_longer_than_the_context():
    found = feature_scores(*planted(train=40, held_out=40), window=CONTEXT + 3, progress=False)
    assert of(found, TOKEN)["window_auc"] > 0.99


@pytest.mark.parametrize("levels", [2, 5, 10_000])
def test_auc_is_scikit_learns(levels):
    rng = np.random.default_rng(levels)
    scores = rng.integers(levels, size=(300, 6)) / levels
    positive = rng.random((300, 6)) < np.array([0.01, 0.1, 0.5, 0.9, 0, 1])
    positive[0, 0] = True
    found = auc(scores, positive)
    for j in range(4):
        assert found[j] == pytest.approx(roc_auc_score(positive[:, j], scores[:, j]), abs=1e-12)
    assert np.isnan(found[4:]).all()


def test_auc_of_ends():
    scores = np.array([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    assert auc(scores, np.array([[False, True, True], [True, False, False]])).tolist() == [1, 0, 0.5]
    assert np.isnan(auc(np.zeros((0, 2)), np.zeros((0, 2), bool))).all()


def test_a_real_code_on_harvested_activations(tiny_store):
    store = tiny_store[1]
    found = feature_scores(coordinate_null(store.rows("train").mean(0), 4), store, progress=False)
    assert {*found.sign} == {1, -1}
    assert len(found.feature) > 10
    assert ((found.token_auc > 0.3) & (found.token_auc <= 1) & (found.window_auc <= 1)).all()
    assert np.median(found.token_auc) > 0.6  # what the model writes at layer 1 depends on the token
    assert np.median(found.window_auc) >= np.median(found.token_auc) - 0.02
