"""The coordinate null: what keeping the k largest coordinates scores, without anything learned."""

import numpy as np
import pytest
import torch
from support.stores import random_store

from expander_theory import InvalidArgument
from sae_bridge.evaluation.reconstruction import mean_activation, reconstruction
from sae_bridge.sae.null import coordinate_null


@pytest.mark.parametrize("k", [1, 3, 8])
def test_it_keeps_the_k_largest_coordinates_exactly(k):
    generator = torch.Generator().manual_seed(0)
    h, mean = torch.randn(20, 8, generator=generator), torch.randn(8, generator=generator)
    null = coordinate_null(mean, k)
    kept, acts, indices = null(h)
    centred = (h - mean).numpy()
    for row, found, chosen in zip(centred, (kept.detach() - mean).numpy(), indices.numpy(), strict=True):
        largest = np.argsort(-np.abs(row), kind="stable")[:k]
        assert set(chosen) == set(largest)
        expected = np.zeros(8)
        expected[largest] = row[largest]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (acts < 0).any() or k == 1
    assert (null.k, null.n, null.m, null.mask.d) == (k, 8, 8, 1)


def test_its_fvu_is_what_is_left():
    store = random_store(m=8)
    mean = mean_activation(store, "train").float()
    found = [reconstruction(coordinate_null(mean, k), store, training_tokens=0, progress=False).fvu for k in (1, 4, 8)]
    rows = store.rows("held_out") - mean
    squares = rows.square().sort(dim=1, descending=True).values
    spread = (store.rows("held_out") - mean_activation(store, "held_out").float()).square().sum()
    for k, fvu in zip((1, 4, 8), found, strict=True):
        assert fvu == pytest.approx(float(squares[:, k:].sum() / spread), abs=1e-6)


@pytest.mark.parametrize(("mean", "k", "name"), [
    (torch.zeros(4), 0, "k"), (torch.zeros(4), 5, "k"), (torch.zeros(2, 2), 1, "mean"), (torch.zeros(0), 1, "mean"),
    (torch.full((4,), float("nan")), 1, "mean"),
])  # fmt: skip
def test_bad_arguments_are_named(mean, k, name):
    with pytest.raises(InvalidArgument, match=f"^{name} = "):
        coordinate_null(mean, k)
