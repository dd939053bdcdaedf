import numpy as np
import oracles
import pytest
import torch

from expander_theory import DenseDictionary, Dictionary, InvalidArgument, InvalidFile, Mask, uniform_mask
from sae_bridge.sae import ExpanderSAE, TopKSAE, load_sae

MASK = uniform_mask(12, 30, 4, seed=0)


def both(k=5):
    return [ExpanderSAE(MASK, k, seed=1), TopKSAE(12, 30, k, seed=1)]


def explicit(sae):
    weight = sae.weight.detach().double().numpy()
    if sae.rows is None:
        return weight
    return oracles.dense(sae.m, sae.rows.numpy(), weight).T


@pytest.mark.parametrize("sae", both(), ids=["expander", "dense"])
def test_forward_is_the_formula(sae):
    sae = sae.double()
    with torch.no_grad():
        sae.scale.fill_(0.7)
        sae.b_dec.normal_(generator=torch.Generator().manual_seed(0))
        sae.b_enc.normal_(generator=torch.Generator().manual_seed(1))
    h = torch.randn(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    reconstruction, acts, indices = sae(h)
    b_enc, b_dec = sae.b_enc.detach().numpy(), sae.b_dec.detach().numpy()
    expected = oracles.sae_forward(explicit(sae), b_enc, b_dec, 0.7, 5, h.numpy())
    np.testing.assert_allclose(reconstruction.detach().numpy(), expected, atol=1e-12)
    assert (acts >= 0).all()
    assert acts.shape == indices.shape == (9, 5)


@pytest.mark.parametrize("sae", both(), ids=["expander", "dense"])
def test_gradients_in_float64(sae):
    sae = sae.double()
    h = torch.randn(6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    parameters = [sae.weight, sae.b_enc, sae.b_dec]

    def loss(h, *values):
        replaced = dict(zip(("weight", "b_enc", "b_dec"), values, strict=True))
        return torch.func.functional_call(sae, replaced, (h,))[0]

    def plain(h, weight, b_enc, b_dec):
        return _autograd_sae(sae, h, weight, b_enc, b_dec)

    inputs = (h, *parameters)
    ours = torch.autograd.grad(loss(*inputs).square().sum(), inputs)
    theirs = torch.autograd.grad(plain(*inputs).square().sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
        assert a.abs().max() > 0
    assert torch.autograd.gradcheck(loss, inputs)


def _autograd_sae(sae, h, weight, b_enc, b_dec):
    """The SAE with explicit matrices, differentiated by torch alone."""
    w = weight if sae.rows is None else torch.zeros(30, 12, dtype=h.dtype).scatter(1, sae.rows.long(), weight)
    scores = (sae.scale * h - b_dec) @ w.T + b_enc
    values, indices = scores.topk(sae.k, dim=1)
    code = torch.zeros_like(scores).scatter(1, indices, values.relu())
    return (code @ w + b_dec) / sae.scale


def test_an_expander_sae_stores_d_n_decoder_values():
    expander, dense = both()
    assert expander.decoder_values == 30 * 4
    assert dense.decoder_values == 30 * 12
    assert sum(p.numel() for p in expander.parameters()) == 30 * 4 + 30 + 12


def test_a_full_mask_equals_the_dense_sae():
    full = ExpanderSAE(Mask(6, np.tile(np.arange(6), (10, 1))), 3)
    dense = TopKSAE(6, 10, 3)
    with torch.no_grad():
        dense.weight.copy_(full.weight)
    h = torch.randn(20, 6)
    torch.testing.assert_close(full(h)[0], dense(h)[0])


@pytest.mark.parametrize("sae", both(), ids=["expander", "dense"])
def test_the_decoder_is_an_ordinary_dictionary(sae):
    w = sae.dictionary()
    assert isinstance(w, DenseDictionary if sae.rows is None else Dictionary)
    np.testing.assert_allclose(w.to_dense().T, explicit(sae), atol=1e-6)
    np.testing.assert_allclose(w.column_norms, 1, atol=1e-12)


def test_columns_stay_unit_and_gradients_tangent():
    for sae in both():
        torch.testing.assert_close(sae.weight.norm(dim=1), torch.ones(30))
        sae(torch.randn(50, 12))[0].square().sum().backward()
        sae.project_gradient()
        torch.testing.assert_close((sae.weight.grad * sae.weight).sum(dim=1), torch.zeros(30), atol=1e-4, rtol=0)


@pytest.mark.parametrize("sae", both(), ids=["expander", "dense"])
def test_save_and_load(sae, tmp_path):
    sae.fit_normalisation(torch.arange(12.0), 250.0)
    sae.save(tmp_path / "sae", {"seed": 3})
    loaded, fields = load_sae(tmp_path / "sae")
    assert type(loaded) is type(sae)
    assert fields == {"seed": 3}
    assert loaded.scale.shape == ()
    h = torch.randn(7, 12)
    assert torch.equal(loaded(h)[0], sae(h)[0])
    (tmp_path / "sae").write_bytes((tmp_path / "sae").read_bytes()[:-3])
    with pytest.raises(InvalidFile, match="truncated"):
        load_sae(tmp_path / "sae")


def test_a_seed_decides_the_initial_values():
    assert torch.equal(TopKSAE(5, 9, 2, seed=4).weight, TopKSAE(5, 9, 2, seed=4).weight)
    assert not torch.equal(TopKSAE(5, 9, 2, seed=4).weight, TopKSAE(5, 9, 2, seed=5).weight)


def test_bad_arguments_are_named():
    with pytest.raises(InvalidArgument, match="k = 31"):
        ExpanderSAE(MASK, 31)
    with pytest.raises(InvalidArgument, match="n = 0"):
        TopKSAE(3, 0, 1)
