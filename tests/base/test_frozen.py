"""Frozen objects stay frozen through copies and pickles, and carry no cached value beside other arrays."""

import copy
import pickle

import numpy as np
import pytest
import torch

from expander_theory import DenseDictionary, Mask, gaussian_dictionary, omp, sparse_code, uniform_mask
from expander_theory.solvers.omp.prepared import Prepared
from sae_bridge.pursuits.tensor_dictionary import TensorDictionary

MASK = uniform_mask(30, 80, 4, seed=0)
W = gaussian_dictionary(MASK, seed=0)
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "old pickle": lambda x: pickle.loads(pickle.dumps(x, protocol=0)),
}


def arrays_of(x):
    return [v for v in vars(x).values() if isinstance(v, np.ndarray)]


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(
    "made",
    [MASK, W, DenseDictionary(W.columns if hasattr(W, "columns") else W.to_dense().T)],
    ids=["mask", "masked", "dense"],
)
def test_a_copy_is_equal_and_as_frozen(made, how):
    made.sha256, getattr(made, "column_norms", None), getattr(made, "row_lists", None)
    other = COPIES[how](made)
    assert other.sha256 == made.sha256
    assert arrays_of(other)
    for array in arrays_of(other):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    if isinstance(made, Mask):
        assert (other.recipe, other) == (made.recipe, made)
    else:
        h = made.matvec(sparse_code(made.n, 3, seed=1))
        np.testing.assert_array_equal(omp(other, h, 3).to_dense(), omp(made, h, 3).to_dense())


@pytest.mark.parametrize("how", COPIES)
def test_caches_are_not_carried(how):
    made = gaussian_dictionary(MASK, seed=3)
    made.column_norms, made.sha256  # noqa: B018
    other = COPIES[how](made)
    assert "column_norms" not in vars(other)
    assert "sha256" not in vars(other)


def test_cached_values_are_read_only():
    for array in (MASK.row_degrees, *MASK.row_lists, W.column_norms):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_copies_of_prepared_and_tensor_dictionaries_compute_their_own():
    prepared = Prepared(W, np.float32)
    prepared.gram, prepared.row_lists  # noqa: B018
    assert "gram" not in vars(copy.deepcopy(prepared))
    tensors = TensorDictionary.of(W, torch.zeros(1))
    tensors.norms, tensors.unit  # noqa: B018
    assert "norms" not in vars(copy.deepcopy(tensors))


def test_a_recovery_holds_nothing_but_its_arrays_and_copies_are_its_owner_s():
    found = omp(W, W.matvec(sparse_code(W.n, 3, seed=1)), 3)
    other = copy.deepcopy(found)
    other.coefficients[:] = 0
    assert np.abs(found.to_dense()).max() > 0
    assert np.abs(other.to_dense()).max() == 0
