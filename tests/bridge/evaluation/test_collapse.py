"""The collapse diagnostic: effective degrees, and how near an SAE is to the coordinate null."""

import sys

import numpy as np
import pytest
import torch
from support.stores import random_store

from expander_theory import InvalidArgument, Mask, uniform_mask
from expander_theory.results import Collapse
from sae_bridge.evaluation.collapse import (
    collapse,
    column_shapes,
    effective_degrees,
    feature_energy,
    weighted_effective_degree,
)
from sae_bridge.sae import BlockSAE, ExpanderSAE, TopKSAE, coordinate_null, mean_null

M, K = 8, 2
collapse_module = sys.modules[collapse.__module__]  # the package exports the function under the same name


def test_effective_degrees_of_known_columns():
    weight = torch.tensor([[1.0, 0, 0, 0], [3.0, 3, 3, 3], [1.0, 1, 0, 0], [-2.0, 0, 2, 2]])
    torch.testing.assert_close(effective_degrees(weight), torch.tensor([1.0, 4, 2, 3], dtype=torch.float64))


def test_the_weights_are_the_energy_that_a_feature_carries():
    weight = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]])
    acts, indices = torch.tensor([[3.0, 0.0], [1.0, 2.0]]), torch.tensor([[0, 0], [1, 0]])
    assert weighted_effective_degree((weight,), feature_energy(acts, indices, len(weight))) == pytest.approx(
        (13 * 1 + 1 * 4) / 14
    )
    assert np.isnan(weighted_effective_degree((weight,), feature_energy(0 * acts, indices, len(weight))))


@pytest.mark.parametrize("sae", [
    ExpanderSAE(uniform_mask(M, 20, 3, seed=0), K), TopKSAE(M, 20, K), BlockSAE(uniform_mask(M, 17, 3, seed=0), 3, K),
], ids=["mask", "dense", "block"])  # fmt: skip
def test_shapes_of_columns_are_those_of_the_whole_matrix(sae, monkeypatch):
    monkeypatch.setattr(collapse_module, "_COLUMNS", 6)
    columns = sae.dictionary().to_dense().T
    squares = columns**2
    energies, peaks, main, degrees = column_shapes(sae.dictionary())
    np.testing.assert_allclose(energies, squares.sum(axis=1))
    np.testing.assert_allclose(peaks, squares.max(axis=1) / squares.sum(axis=1))
    np.testing.assert_array_equal(main, squares.argmax(axis=1))
    np.testing.assert_allclose(degrees, squares.sum(axis=1) ** 2 / (squares**2).sum(axis=1))


def by_hand(sae, store):
    h = store.rows("held_out").double()
    mean = store.rows("train").double().mean(dim=0)
    acts, indices = (part.detach().numpy() for part in sae.encode(h.float()))
    columns = sae.dictionary().to_dense().T
    energy, on_largest, active = np.zeros(len(columns)), 0, 0
    left = []
    for row, own, chosen in zip((h - mean).numpy(), acts, indices, strict=True):
        largest = set(np.argsort(-np.abs(row), kind="stable")[: sae.k])
        left.append(np.where(np.isin(np.arange(M), list(largest)), 0, row))
        for act, j in zip(own, chosen, strict=True):
            if act != 0:
                energy[j] += act**2
                on_largest += int(np.argmax(np.abs(columns[j])) in largest)
                active += 1
    ours = (h - sae.decode(*sae.encode(h.float()))).detach().numpy()
    cosine = (ours * left).sum() / np.linalg.norm(ours) / np.linalg.norm(left)
    degrees = 1 / (columns**4).sum(axis=1)
    return (energy @ degrees / energy.sum(), degrees.mean(), energy @ (columns**2).max(axis=1) / energy.sum(),
            on_largest / active, cosine)  # fmt: skip


@pytest.mark.parametrize("sae", [
    ExpanderSAE(uniform_mask(M, 20, 3, seed=0), K), TopKSAE(M, 20, K),
    ExpanderSAE(uniform_mask(M, 20, 3, seed=0), K, encoder="omp"),
], ids=["mask", "dense", "omp"])  # fmt: skip
def test_it_is_what_its_definition_says(sae):
    store = random_store(m=M)
    found = collapse(sae.eval(), store)
    np.testing.assert_allclose(
        [found.effective_degree, found.effective_degree_of_columns, found.peak, found.on_largest_coordinates,
         found.residual_cosine], by_hand(sae, store), rtol=1e-4,
    )  # fmt: skip
    assert not found.collapsed


def test_the_null_itself_has_collapsed():
    store = random_store(m=M)
    mean = store.rows("train").mean(dim=0)
    found = collapse(coordinate_null(mean, K), store, mean=mean)
    assert (found.effective_degree, found.peak, found.on_largest_coordinates) == (1, 1, 1)
    assert found.residual_cosine == pytest.approx(1)
    assert found.collapsed


def test_a_nearly_one_hot_decoder_has_collapsed_whatever_its_other_columns_are():
    """The case of trained SAEs: columns that carry the energy are one-hot, most others flat and hardly ever active."""
    store = random_store(m=M)
    pairs = np.sort(np.stack([np.arange(M), (np.arange(M) + 1) % M], axis=1), axis=1)
    mask = Mask(M, np.concatenate([pairs] * 3).astype(np.int32))
    sae = ExpanderSAE(mask, K, selection="magnitude").eval()
    with torch.no_grad():
        sae.b_dec.copy_(store.rows("train").mean(dim=0))
        one_hot = torch.where(torch.from_numpy(pairs == np.arange(M)[:, None]), 1.0, 0.05)
        sae.weight.copy_(torch.cat([one_hot, *[torch.full((M, 2), 0.01)] * 2]))
    found = collapse(sae, store)
    assert found.effective_degree_of_columns > 1.6 > 1.1 > found.effective_degree
    assert found.on_largest_coordinates > 0.9
    assert found.collapsed


def test_what_is_undefined_is_none():
    store = random_store(m=M)
    found = collapse(mean_null(store.rows("train").mean(dim=0)), store)
    assert found.effective_degree is found.peak is found.on_largest_coordinates is None
    assert not found.collapsed


@pytest.mark.parametrize(("degree", "share", "expected"), [(1.49, 0.76, True), (1.5, 0.9, False), (1.1, 0.75, False)])
def test_the_rule(degree, share, expected):
    how = {"effective_degree_of_columns": 3.0, "peak": 0.9, "residual_cosine": 0.9}
    assert Collapse(effective_degree=degree, on_largest_coordinates=share, **how).collapsed == expected


def test_another_width_is_refused():
    with pytest.raises(InvalidArgument, match="sae = of width m = 9: must have the activations' width 8"):
        collapse(TopKSAE(9, 20, 2).eval(), random_store(m=M))
