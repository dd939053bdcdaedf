"""Activations read in another orthonormal basis."""

import numpy as np
import pytest
import torch

from expander_theory import InvalidArgument
from sae_bridge.activations import ActivationStore, RotatedStore, StoredStream
from sae_bridge.evaluation import principal_directions


def orthonormal(m, seed=0):
    gaussian = np.random.default_rng(seed).standard_normal((m, m))
    return torch.from_numpy(np.linalg.qr(gaussian)[0])


def test_everything_that_is_read_is_rotated_and_nothing_else(tiny_store):
    _, store = tiny_store
    basis = orthonormal(store.m)
    rotated = RotatedStore(store, basis)
    wanted = store.rows("held_out").double() @ basis.T
    torch.testing.assert_close(rotated.rows("held_out").double(), wanted, rtol=1e-4, atol=1e-4)
    batches = torch.cat(list(rotated.batches("held_out", 7)))
    torch.testing.assert_close(batches, rotated.rows("held_out"), rtol=1e-5, atol=1e-5)
    contexts = np.array([1, 3])
    by_context = rotated.context_rows("held_out", contexts)
    plain = store.context_rows("held_out", contexts).double() @ basis.T
    torch.testing.assert_close(by_context.double(), plain, rtol=1e-4, atol=1e-4)
    assert rotated.count("train") == store.count("train")
    assert torch.equal(rotated.tokens("held_out"), store.tokens("held_out"))
    a, b = (StoredStream(one, 32, 0).batch(2) for one in (store, rotated))  # the same tokens in the same order
    torch.testing.assert_close(b.double(), a.double() @ basis.T, rtol=1e-4, atol=1e-4)


def test_a_rotation_is_part_of_the_identity(tiny_store):
    _, store = tiny_store
    hashes = {store.sha256, *(RotatedStore(store, orthonormal(store.m, seed)).sha256 for seed in (0, 1))}
    assert len(hashes) == 3
    assert RotatedStore(ActivationStore(store.folder), orthonormal(store.m)).sha256 in hashes


def test_in_principal_directions_coordinates_are_uncorrelated(tiny_store):
    _, store = tiny_store
    rows = RotatedStore(store, principal_directions(store)).rows("train").double()
    centred = rows - rows.mean(dim=0)
    scatter = centred.T @ centred
    apart = scatter - torch.diag(scatter.diagonal())
    assert float(apart.abs().max()) < 1e-3 * float(scatter.diagonal().max())
    assert (scatter.diagonal().diff() < 1e-3 * scatter.diagonal().max()).all()


@pytest.mark.parametrize(
    ("basis", "message"),
    [(torch.eye(3), r"basis = of shape \(3, 3\): must have shape"), (None, "must have orthonormal rows")],
)
def test_a_basis_must_be_one(tiny_store, basis, message):
    _, store = tiny_store
    with pytest.raises(InvalidArgument, match=message):
        RotatedStore(store, 2 * torch.eye(store.m) if basis is None else basis)
