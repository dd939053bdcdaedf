"""Indices and rows that lead nowhere end in an error that names them, on every path above the loops."""

import numpy as np
import pytest
import torch

from expander_theory import InvalidArgument, Recovery, gaussian_dictionary, omp, sparse_code, uniform_mask
from expander_theory.simulation.problems import PlantedCodes
from expander_theory.simulation.trials import signals_of
from sae_bridge.codes._support_fit import fit_on_support
from sae_bridge.kernels import cpu
from sae_bridge.pursuits.tensor_dictionary import TensorDictionary
from sae_bridge.sae import ops
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE

MASK = uniform_mask(12, 30, 4, seed=0)
BAD = [30, -1, 10**9, -(10**12)]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("dense", [False, True])
def test_decode_names_an_index_that_is_no_feature(bad, kind, dense):
    sae = (TopKSAE(12, 30, 3, seed=0) if dense else ExpanderSAE(MASK, 3, seed=0)).to(kind)
    acts, indices = torch.ones(4, 3, dtype=kind), torch.zeros(4, 3, dtype=torch.long)
    indices[2, 1] = bad
    for decode in (sae.decode, sae.combine, lambda a, i: sae.decode(a, i, trusted=True)):
        with pytest.raises(InvalidArgument, match=rf"indices = {bad}: must lie in 0\.\.29"):
            decode(acts, indices)


def test_padding_of_a_recovery_is_explained():
    sae = ExpanderSAE(MASK, 3, seed=0)
    found = omp(sae.dictionary(), sae.dictionary().matvec(sparse_code(30, 1, seed=0))[None], 3)
    acts, indices = torch.from_numpy(found.coefficients).float(), torch.from_numpy(found.indices).long()
    assert bool((indices == -1).any())
    with pytest.raises(InvalidArgument, match=r"-1 is padding .* clamp it to 0"):
        sae.decode(acts, indices)
    assert sae.decode(acts, indices.clamp_min(0)).shape == (1, 12)


@pytest.mark.parametrize("bad", BAD)
def test_the_loops_of_the_backward_pass_check_too(bad):
    weight, rows = torch.ones(30, 4), torch.from_numpy(MASK.rows.copy())
    indices, acts, g = torch.full((2, 3), bad), torch.ones(2, 3), torch.ones(2, 12)
    for call in (lambda: cpu.pull(g, indices, weight, rows), lambda: cpu.accumulate(acts, indices, g, weight, rows)):
        with pytest.raises(InvalidArgument, match="indices"):
            call()


def test_indices_of_another_type_or_shape_are_named():
    weight, rows = torch.ones(30, 4), torch.from_numpy(MASK.rows.copy())
    with pytest.raises(InvalidArgument, match="int64"):
        cpu.combine(torch.ones(2, 2), torch.zeros(2, 2, dtype=torch.int32), weight, rows, 12)
    with pytest.raises(InvalidArgument, match="shape"):
        cpu.combine(torch.ones(2, 3), torch.zeros(2, 2, dtype=torch.int64), weight, rows, 12)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bad", [12, -1])
def test_rows_beyond_m_are_named(kind, bad):
    weight, rows = torch.ones(30, 4, dtype=kind), torch.from_numpy(MASK.rows.copy())
    rows[3, 1] = bad
    with pytest.raises(InvalidArgument, match=rf"rows = {bad}: must lie in 0\.\.11"):
        ops.encode(torch.ones(2, 12, dtype=kind), weight, torch.zeros(30, dtype=kind), rows, 3)
    with pytest.raises(InvalidArgument, match=rf"rows = {bad}: must lie in 0\.\.11"):
        ops.decode(torch.ones(2, 1, dtype=kind), torch.zeros(2, 1, dtype=torch.long), weight, rows, 12)
    with pytest.raises(InvalidArgument, match="must be int32 or int64"):
        ops.decode(torch.ones(2, 1, dtype=kind), torch.zeros(2, 1, dtype=torch.long), weight, rows.float(), 12)


@pytest.mark.parametrize("bad", BAD)
def test_a_fit_on_a_support_that_is_not_there(bad):
    dictionary = TensorDictionary.of(gaussian_dictionary(MASK, seed=0), torch.zeros(1))
    indices = torch.tensor([[0, bad]])
    with pytest.raises(InvalidArgument, match=f"indices = {bad}"):
        fit_on_support(dictionary, torch.ones(1, 12), torch.ones(1, 2), indices)


@pytest.mark.parametrize("bad", [30, -1, 2**30])
def test_signals_and_codes_of_columns_that_are_not_there(bad):
    codes = PlantedCodes(np.array([[0, bad]], np.int32), np.ones((1, 2)))
    with pytest.raises(InvalidArgument, match="column out of range"):
        signals_of(gaussian_dictionary(MASK, seed=0), codes)
    with pytest.raises(InvalidArgument, match="indices"):
        _recovery([0, bad], 2).to_dense()
    assert _recovery([0, -1], 1).to_dense().sum() == 1
    with pytest.raises(InvalidArgument, match="steps"):
        _recovery([0, 1], 3).to_scipy()


def _recovery(indices, steps):
    made = np.array([indices], np.int32), np.ones((1, 2)), np.array([steps], np.int32)
    return Recovery(30, *made, np.zeros(1, np.int8), np.zeros(1))


def test_a_state_brings_its_own_mask():
    """There is one truth about the rows: those that the state holds."""
    one, other = (ExpanderSAE(uniform_mask(12, 30, 4, seed=seed), 3, seed=seed) for seed in (1, 2))
    other.load_state_dict(one.state_dict())
    assert other.mask == one.mask
    assert other.dictionary().sha256 == one.dictionary().sha256
    h = torch.randn(5, 12)
    assert torch.equal(other(h)[0], one(h)[0])
    np.testing.assert_array_equal(other.rows.numpy(), other.mask.rows)


def test_a_saved_state_of_another_mask_is_what_was_in_memory(tmp_path):
    from sae_bridge.sae.loading import load_sae

    one, other = (ExpanderSAE(uniform_mask(12, 30, 4, seed=seed), 3, seed=seed) for seed in (1, 2))
    other.load_state_dict(one.state_dict())
    other.save(tmp_path / "sae", {})
    h = torch.randn(5, 12)
    assert torch.equal(load_sae(tmp_path / "sae")[0](h)[0], one(h)[0])


@pytest.mark.parametrize("bad", [12, -1, 3])
def test_a_state_whose_rows_are_no_mask_is_refused(bad):
    sae = ExpanderSAE(MASK, 3, seed=0)
    state = {name: value.clone() for name, value in sae.state_dict().items()}
    state["rows"][0, :2] = bad
    with pytest.raises(RuntimeError, match="rows are no mask"):
        sae.load_state_dict(state)
    with pytest.raises(RuntimeError, match="rows are no mask"):
        sae.load_state_dict(state, strict=False)
    assert sae.mask == MASK
