"""Firing sets, collisions, entropy and novelty, against definitions written out in loops."""

import numpy as np
import pytest
import torch
from scipy import sparse
from support.stores import random_store

from expander_theory import InvalidArgument, uniform_mask
from expander_theory.dictionaries.random_masks import expected_deficit
from sae_bridge.evaluation import features
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE
from sae_bridge.sae.storage import storage


@pytest.fixture
def store():
    tokens = {
        split: torch.arange(count * 12).reshape(count, 12) % 7 for split, count in (("train", 40), ("held_out", 20))
    }
    found = random_store(contexts=20, context=12, m=16, seed=3)
    found._tokens = tokens
    return found


@pytest.fixture
def sae(store):
    found = ExpanderSAE(uniform_mask(16, 40, 4, seed=1), 5, seed=2)
    rows = store.rows("held_out")
    found.fit_normalisation(rows.mean(0), float(rows.square().sum(1).mean()))
    return found.eval()


def matrix(rng, tokens, n, share):
    return sparse.csr_matrix((rng.random((tokens, n)) < share).astype(np.int32))


def test_firings_are_the_nonzero_codes(store, sae):
    fired = features.firings(sae, store).toarray()
    acts, indices = sae.encode(store.rows("held_out"))
    expected = np.zeros_like(fired)
    for token in range(len(acts)):
        for act, j in zip(acts[token], indices[token], strict=True):
            expected[token, j] |= int(act != 0)
    assert np.array_equal(fired, expected)
    summary = features.firing_summary(sae, store)
    assert summary["mean"] == pytest.approx(expected.mean())
    assert summary["silent"] == pytest.approx((expected.sum(0) == 0).mean())
    assert summary["q50"] == pytest.approx(np.median(expected.mean(0)[expected.sum(0) > 0]))


def test_collisions_count_rows_of_active_supports(store, sae):
    fired = features.firings(sae, store).toarray()
    deficits, extra = [], []
    for token in fired:
        active = np.nonzero(token)[0]
        if len(active):
            rows = [r for j in active for r in sae.mask.rows[j]]
            deficits.append(1 - len(set(rows)) / len(rows))
            extra.append(len(rows) - len(set(rows)))
    found = features.collisions(sae, store)
    assert found["deficit_mean"] == pytest.approx(np.mean(deficits))
    assert found["duplicates_largest"] == max(extra)
    with pytest.raises(InvalidArgument, match="must be on a mask"):
        features.collisions(TopKSAE(16, 20, 2), store)


def test_expected_deficit_is_that_of_random_supports():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        rows = np.concatenate([rng.choice(60, 6, replace=False) for _ in range(9)])
        found.append(1 - len(np.unique(rows)) / len(rows))
    assert expected_deficit(60, 6, 9) == pytest.approx(np.mean(found), abs=0.01)
    assert expected_deficit(60, 6, 1) == pytest.approx(0)


def test_entropy_of_firing_tokens():
    fired = sparse.csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]], np.int32))
    found = features.token_entropy(fired, np.array([7, 7, 9, 9]))
    assert found[0] == pytest.approx(1)
    assert found[1] == pytest.approx(1)
    assert np.isnan(found[2])
    assert features.token_entropy(fired, np.array([7, 7, 7, 7]))[0] == 0


def test_best_jaccard_by_its_definition():
    rng = np.random.default_rng(1)
    a, b = matrix(rng, 50, 12, 0.1), matrix(rng, 50, 9, 0.15)
    sets = [[set(np.nonzero(column)[0]) for column in x.toarray().T] for x in (a, b)]
    expected = [max((len(s & t) / len(s | t) if s | t else 0) for t in sets[1]) for s in sets[0]]
    np.testing.assert_allclose(features.best_jaccard(a, b), expected)


def test_random_firing_sets_look_like_their_null_and_copies_do_not():
    rng = np.random.default_rng(2)
    reference = matrix(rng, 400, 60, 0.05)
    random = matrix(rng, 400, 200, 0.05)
    null = features.null_jaccard(random, reference, seed=0)
    assert features.best_jaccard(random, reference).mean() == pytest.approx(null.mean(), rel=0.05)
    np.testing.assert_allclose(features.best_jaccard(reference, reference), 1)
    silent = sparse.csr_matrix((400, 3), dtype=np.int32)
    assert (features.null_jaccard(silent, reference, seed=0) == 0).all()


def test_best_cosine_by_its_definition(sae):
    other = TopKSAE(16, 25, 3, seed=4)
    w, v = sae.dictionary().to_dense(), other.dictionary().to_dense()
    expected = [max(abs(w[:, j] @ v[:, i]) for i in range(25)) for j in range(40)]
    np.testing.assert_allclose(features.best_cosine(sae, other), expected)


def test_an_sae_is_not_novel_against_itself(store, sae):
    found = features.novelty(sae, sae, store)
    assert found["jaccard_novel"] == 0
    assert found["cosine_novel"] == 0
    assert found["jaccard_median"] == pytest.approx(1)
    assert found["null_median"] < 1
    assert sum(t["features"] for t in found["tenths"]) == found["alive"]
    assert found["tokens"] == store.count("held_out")


def test_storage_counts_everything(sae):
    counts = storage(sae)
    assert counts["decoder_values"] == 160
    assert counts["parameters"] == 160 + 40 + 16
    assert counts["bytes_float32"] == 4 * (216 + 160)
    assert counts["bytes_packed"] == 2 * 216 + 160 * 4 // 8
    assert counts["bytes_seeded"] == 2 * 216
    dense = storage(TopKSAE(16, 40, 5, encoder="random"))
    assert dense["parameters"] == 2 * 640 + 56
    assert dense["bytes_packed"] == 2 * dense["parameters"]
    assert storage(TopKSAE(16, 40, 5), 3 * 56)["decoder_values"] == 168
    assert torch.is_tensor(sae.weight)
