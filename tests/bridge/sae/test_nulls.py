"""Nulls: what codes score that have learned nothing."""

import numpy as np
import pytest
import torch
from support.stores import MemoryStore, random_store

from expander_theory import InvalidArgument, omp
from expander_theory.masks import uniform_mask
from sae_bridge.evaluation.nulls import Nulls, principal_directions
from sae_bridge.evaluation.reconstruction import mean_activation, reconstruction
from sae_bridge.sae.nulls import coordinate_null, mean_null, principal_null, untrained_null


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


def test_nonnegative_coordinates_are_the_largest_positive_ones():
    mean = torch.tensor([1.0, 0.0, 0.0, 0.0])
    kept, acts, _ = coordinate_null(mean, 2, nonnegative=True)(
        torch.tensor([[4.0, -9.0, 2.0, 1.0], [0.0, -1.0, 5.0, -2.0]])
    )
    assert torch.equal(kept.detach(), torch.tensor([[4.0, 0.0, 2.0, 0.0], [1.0, 0.0, 5.0, 0.0]]))
    assert bool((acts >= 0).all())


def rotated(count=400, m=6):
    """Centred activations with known principal directions, and a mean."""
    generator = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(m, m, generator=generator)).Q
    scales = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.2])
    return torch.randn(count, m, generator=generator) * scales @ basis, basis


def test_principal_nulls_keep_the_first_or_the_largest_coordinates():
    x, basis = rotated()
    mean = torch.arange(6.0)
    coordinates = x @ basis.T
    first = principal_null(mean, basis, 2, leading=True)(x + mean)[0].detach() - mean
    torch.testing.assert_close(first, coordinates[:, :2] @ basis[:2], atol=1e-5, rtol=1e-4)
    largest = principal_null(mean, basis, 2)(x + mean)[0].detach() - mean
    places = coordinates.abs().topk(2, dim=1).indices
    expected = torch.zeros_like(coordinates).scatter(1, places, coordinates.gather(1, places)) @ basis
    torch.testing.assert_close(largest, expected, atol=1e-5, rtol=1e-4)


def test_the_directions_of_a_store_are_those_of_its_training_activations():
    x, basis = rotated(4000)
    store = MemoryStore({"train": (x + 2).reshape(40, 100, 6), "held_out": (x[:400] + 2).reshape(4, 100, 6)})
    found = principal_directions(store)
    assert float((found @ basis.T).abs().diagonal().min()) > 0.99
    k = 2
    null = next(null for null in Nulls(store).at(k, ("leading",)))
    assert null.learned == k * 6
    fvu = reconstruction(null.build(), store, training_tokens=0, progress=False).fvu
    variances = torch.tensor([25.0, 9.0, 4.0, 1.0, 0.25, 0.04])
    assert fvu == pytest.approx(float(variances[2:].sum() / variances.sum()), rel=0.1)


def test_the_untrained_null_is_omp_on_random_values():
    mask, h = uniform_mask(8, 20, 3, seed=1), torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    mean = torch.full((8,), 0.5)
    null = untrained_null(mean, mask, 3)
    found = omp(null.dictionary(), (h - mean).double().numpy(), 3)
    assert np.array_equal(null.encode(h)[1], found.indices)
    dense = untrained_null(mean, 20, 3)
    assert (dense.mask, dense.n, dense.encoding) == (None, 20, "omp")


def test_the_mean_null_is_the_mean():
    store = random_store(m=8)
    mean = mean_activation(store, "train").float()
    null = mean_null(mean, 3)
    kept, acts, _ = null(store.rows("held_out"))
    assert not acts.any()
    assert torch.equal(kept.detach(), mean.expand(len(kept), -1))
    found = reconstruction(null, store, training_tokens=0, progress=False)
    assert found.l0 == 0
    assert found.fvu == pytest.approx(1, abs=0.05)


def test_nulls_that_there_cannot_be_are_left_out():
    nulls = Nulls(random_store(m=8))
    assert [null.name for null in nulls.at(3, masks=[uniform_mask(8, 20, 3, seed=1), 12])] == [
        "null-k3", "null-coordinates-nonnegative-k3", "null-principal-k3", "null-leading-k3",
        "null-untrained-d3-n20-k3", "null-untrained-n12-k3", "null-mean-k3",
    ]  # fmt: skip
    assert nulls.at(9, masks=[12]) == []


@pytest.mark.parametrize(("call", "says"), [
    (lambda: principal_null(torch.zeros(3), torch.ones(2, 3), 1), "directions = .* must be orthonormal"),
    (lambda: principal_null(torch.zeros(3), torch.eye(4), 1), "directions = tensor of shape"),
    (lambda: principal_null(torch.zeros(3), torch.eye(3)[:2], 3), "k = 3: must be between 1 and the number of"),
    (lambda: untrained_null(torch.zeros(3), 0, 1), "columns = 0: must be at least 1"),
    (lambda: untrained_null(torch.zeros(3), uniform_mask(4, 5, 2, seed=0), 1), "columns = mask of m = 4 rows"),
    (lambda: untrained_null(torch.zeros(3), 5, 4), "k = 4: must be at most min"),
    (lambda: mean_null(torch.zeros(3), 4), "k = 4: must be between 1 and m = 3"),
    (lambda: Nulls(random_store(m=8)).at(0), "k = 0: must be at least 1"),
    (lambda: Nulls(random_store(m=8)).at(2, ("zero",)), "kinds = 'zero': must be one of coordinates"),
])  # fmt: skip
def test_what_a_null_cannot_be(call, says):
    with pytest.raises(InvalidArgument, match=says):
        call()
