import numpy as np
import pytest
import torch
from support.stores import MemoryStore, fake_sae, random_store

from expander_theory import InvalidArgument, InvalidFile, uniform_mask
from sae_bridge.evaluation.reconstruction import DENSE_SHARE, mean_activation, reconstruction
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE


def identity(m):
    return fake_sae(lambda h: (h, torch.arange(m).expand_as(h)), lambda acts, indices: acts, m, m)


def constant(value):
    def encode(h):
        return torch.zeros(len(h), 1), torch.zeros(len(h), 1, dtype=torch.int64)

    return fake_sae(encode, lambda acts, indices: value.expand(len(acts), -1), len(value), 4)


def test_the_identity_has_no_error():
    found = reconstruction(identity(8), random_store(), progress=False)
    assert found.fvu == found.relative_error == 0
    assert found.fvu_interval == (0, 0)
    assert found.l0 == 8
    assert (found.dead, found.dense) == (0, 8)


def test_the_mean_explains_nothing():
    store = random_store()
    found = reconstruction(constant(mean_activation(store, "held_out")), store, progress=False)
    assert found.fvu == pytest.approx(1, abs=1e-13)
    assert found.l0 == 0
    assert (found.dead, found.dense) == (4, 0)
    other = reconstruction(constant(mean_activation(store, "train")), store, progress=False)
    assert other.fvu > 1


def test_zero_has_relative_error_one():
    found = reconstruction(constant(torch.zeros(8)), random_store(), progress=False)
    assert found.relative_error == pytest.approx(1, abs=1e-12)
    assert found.fvu > 5  # the mean is far from zero


@pytest.mark.parametrize("selection", ["signed", "magnitude"])
def test_everything_against_a_count_over_all_rows_at_once(selection):
    store = random_store(m=32)
    sae = ExpanderSAE(uniform_mask(32, 64, 4, seed=0), 4, selection=selection)
    found = reconstruction(sae, store, progress=False)
    h, seen = store.rows("held_out"), torch.cat([store.rows("held_out"), store.rows("train")])
    with torch.no_grad():
        h_hat, acts, _ = sae(h)
        fires = {split: np.zeros((len(rows), 64), bool) for split, rows in (("held_out", h), ("seen", seen))}
        for split, rows in (("held_out", h), ("seen", seen)):
            for token, (values, indices) in enumerate(zip(*sae.encode(rows), strict=True)):
                fires[split][token, indices[values != 0]] = True
        error = (h_hat - h).double().norm(dim=1)
    assert found.fvu == pytest.approx(
        float(error.square().sum() / (h - h.mean(dim=0)).double().square().sum()), rel=1e-6
    )
    assert found.relative_error == pytest.approx(float((error / h.norm(dim=1)).mean()), rel=1e-6)
    assert found.l0 == pytest.approx(float((acts != 0).sum() / len(h)))
    assert found.dead == (~fires["seen"].any(axis=0)).sum()
    assert found.dense == (fires["held_out"].mean(axis=0) > DENSE_SHARE).sum()
    assert 0 < found.dense < 64
    assert (found.tokens, found.seen_tokens) == (len(h), len(seen))
    assert found.fvu_interval[0] < found.fvu < found.fvu_interval[1]


def test_the_batch_changes_nothing():
    store, sae = random_store(m=32), TopKSAE(32, 64, 4)
    found, other = (reconstruction(sae, store, batch=batch, progress=False) for batch in (7, 4096))
    assert (found.dead, found.dense, found.l0) == (other.dead, other.dense, other.l0)
    assert found.fvu == pytest.approx(other.fvu, rel=1e-6)
    assert found.fvu_interval == pytest.approx(other.fvu_interval, rel=1e-6)
    assert found.relative_error == pytest.approx(other.relative_error, rel=1e-6)


def test_a_feature_that_fires_in_training_alone_is_dead_without_it():
    """Feature j fires on values above j."""
    hidden = {"train": torch.tensor([1.5, 2.5, 3.5]), "held_out": torch.tensor([1.5, 0.5, 1.7])}
    store = MemoryStore({split: values[:, None, None] for split, values in hidden.items()})

    def encode(h):
        return (h - torch.arange(5)).relu(), torch.arange(5).expand(len(h), 5)

    sae = fake_sae(encode, lambda acts, indices: acts[:, :1], 1, 5)
    for training, dead in ((0, 3), (1, 3), (2, 2), (3, 1), (None, 1), (99, 1)):
        found = reconstruction(sae, store, training_tokens=training, batch=1, progress=False)
        assert found.dead == dead
        assert found.seen_tokens == 3 + min(3, 3 if training is None else training)


def test_codes_of_another_method():
    sae = fake_sae(None, lambda acts, indices: 0.5 * acts, 8, 8)
    found = reconstruction(sae, random_store(), codes=identity(8).encode, training_tokens=0, progress=False)
    assert found.l0 == 8
    assert found.relative_error == pytest.approx(0.5)


def test_zero_activations_are_left_out_of_the_relative_error_alone():
    hidden = torch.tensor([[0.0, 0.0], [3.0, 4.0]])[None]
    store = MemoryStore({"train": hidden, "held_out": hidden})
    found = reconstruction(constant(torch.tensor([0.0, 4.0])), store, progress=False)
    assert found.relative_error == pytest.approx(3 / 5)
    assert found.fvu == pytest.approx((16 + 9) / (2 * 6.25))


def test_the_unit_of_the_intervals():
    documents = np.repeat([0, 1, 2, 3], 3)
    store = random_store(m=32, documents=documents)
    sae = TopKSAE(32, 64, 4)
    whole, single = (reconstruction(sae, store, resample=unit, progress=False) for unit in ("documents", "contexts"))
    assert whole.fvu == pytest.approx(single.fvu)
    assert whole.fvu_interval != single.fvu_interval
    assert reconstruction(sae, store, progress=False).fvu_interval == single.fvu_interval  # too few documents


def test_bad_input():
    store = random_store()
    with pytest.raises(InvalidArgument, match="width m = 7"):
        reconstruction(identity(7), store)
    with pytest.raises(InvalidArgument, match="batch = 0"):
        reconstruction(identity(8), store, batch=0)
    with pytest.raises(InvalidArgument, match="training_tokens = -1"):
        reconstruction(identity(8), store, training_tokens=-1)
    with pytest.raises(InvalidArgument, match="NaN or infinite"):
        reconstruction(constant(torch.full((8,), torch.nan)), store, progress=False)
    flat = torch.ones(3, 2, 8)
    with pytest.raises(InvalidFile, match="do not vary"):
        reconstruction(identity(8), MemoryStore({"train": flat, "held_out": flat}), progress=False)
