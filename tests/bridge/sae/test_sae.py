import json

import numpy as np
import pytest
import scipy.stats
import torch
from support import oracles

from expander_theory import DenseDictionary, Dictionary, InvalidArgument, InvalidFile, Mask, uniform_mask
from expander_theory.results.files import read_arrays, stored_sha256, write_arrays
from sae_bridge.sae._initial import initial_weight
from sae_bridge.sae.loading import load_sae
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE

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


@pytest.mark.parametrize("encoder", ["tied", "warm", "random"])
@pytest.mark.parametrize("kind", ["expander", "dense"])
def test_save_and_load(kind, encoder, tmp_path):
    sae = {"expander": lambda **o: ExpanderSAE(MASK, 5, **o), "dense": lambda **o: TopKSAE(12, 30, 5, **o)}[kind](
        seed=1, encoder=encoder, activation="batch_topk"
    )
    sae.fit_normalisation(torch.arange(12.0), 250.0)
    with torch.no_grad():
        sae.threshold.fill_(0.3)
        if sae.encoder is not None:
            sae.encoder.mul_(1.5)
    sae.save(tmp_path / "sae", {"seed": 3})
    loaded, fields = load_sae(tmp_path / "sae")
    assert type(loaded) is type(sae)
    assert fields == {"seed": 3}
    assert loaded.scale.shape == ()
    assert not loaded.training
    h = torch.randn(7, 12)
    assert torch.equal(loaded(h)[0], sae.eval()(h)[0])
    assert {name: tuple(v.shape) for name, v in loaded.state_dict().items()} == {
        name: tuple(v.shape) for name, v in sae.state_dict().items()
    }


def damage_truncated(folder):
    path = folder / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-3])


def damage_mask(folder):
    fields, arrays = read_arrays(folder / "sae_weights.safetensors", "expander-sae", 2)
    arrays["rows"] = uniform_mask(12, 30, 4, seed=9).rows
    write_arrays(folder / "sae_weights.safetensors", "expander-sae", 2, fields, arrays)
    edit(folder, weights_sha256=stored_sha256(folder / "sae_weights.safetensors"))


def edit(folder, **changes):
    about = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**about, **changes}))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (damage_truncated, "truncated"),
        (damage_mask, "its mask is not the one"),
        (lambda f: edit(f, k=6), "k differ from what"),
        (lambda f: edit(f, weights_sha256="0" * 64), "is not the file that cfg.json was written with"),
        (lambda f: edit(f, kind="other"), "kind is 'other'"),
        (lambda f: edit(f, kind=None, d_in=12), "expander sae import"),
        (lambda f: edit(f, version=3), "newer than 2: upgrade"),
        (lambda f: edit(f, n="30"), "n: expected int, got str"),
        (lambda f: (f / "cfg.json").write_text("{"), "damaged"),
        (lambda f: (f / "cfg.json").unlink(), "cfg.json is missing"),
        (lambda f: (f / "sae_weights.safetensors").unlink(), "no such file"),
    ],
)
def test_damage_of_a_saved_sae_is_seen(tmp_path, damage, problem):
    both()[0].save(tmp_path / "sae", {})
    damage(tmp_path / "sae")
    with pytest.raises(InvalidFile, match=problem):
        load_sae(tmp_path / "sae")


def test_a_seed_decides_the_initial_values():
    assert torch.equal(TopKSAE(5, 9, 2, seed=4).weight, TopKSAE(5, 9, 2, seed=4).weight)
    assert not torch.equal(TopKSAE(5, 9, 2, seed=4).weight, TopKSAE(5, 9, 2, seed=5).weight)


def test_initial_values_are_standard_gaussian():
    values = initial_weight(200, 500, None, seed=0, purpose="test").numpy()
    assert scipy.stats.kstest(values.ravel(), "norm").pvalue > 0.01
    correlations = np.corrcoef(values)
    assert np.abs(correlations - np.eye(500)).max() < 5.5 / np.sqrt(200)
    assert len(np.unique(values)) > 0.99 * values.size


@pytest.mark.parametrize("encoder", ["tied", "random"])
def test_an_expander_starts_at_the_dense_start_on_its_mask(encoder):
    expander, dense = ExpanderSAE(MASK, 5, seed=3, encoder=encoder), TopKSAE(12, 30, 5, seed=3, encoder=encoder)
    for name in ("weight", "encoder_weight"):
        on_mask = getattr(dense, name).detach().gather(1, torch.from_numpy(MASK.rows).long())
        unit = on_mask / on_mask.norm(dim=1, keepdim=True)
        torch.testing.assert_close(getattr(expander, name).detach(), unit)
    if encoder == "random":
        assert (expander.weight - expander.encoder).abs().max() > 0.1


def test_a_warm_encoder_starts_as_the_tied_one_and_moves_alone():
    tied, warm = ExpanderSAE(MASK, 5, seed=3), ExpanderSAE(MASK, 5, seed=3, encoder="warm")
    h = torch.randn(20, 12)
    assert torch.equal(tied(h)[0], warm(h)[0])
    warm(h)[0].square().sum().backward()
    assert warm.encoder.grad.abs().max() > 0
    assert not torch.equal(warm.encoder.grad, warm.weight.grad)
    with torch.no_grad():
        warm.encoder.neg_()
    assert not torch.equal(tied(h)[0], warm(h)[0])
    torch.testing.assert_close(tied.weight, warm.weight)


@pytest.mark.parametrize("sae", both(), ids=["expander", "dense"])
def test_magnitude_keeps_the_largest_magnitudes_with_their_signs(sae):
    h = torch.randn(20, 12)
    scores = h @ torch.from_numpy(explicit(sae)).float().T
    sae.selection = "magnitude"
    acts, indices = sae.encode(h)
    expected = scores.abs().topk(5, dim=1).indices
    assert torch.equal(indices.sort(dim=1).values, expected.sort(dim=1).values)
    torch.testing.assert_close(acts, scores.gather(1, indices))
    assert (acts < 0).any()


def test_batch_topk_keeps_the_largest_of_the_batch_and_then_those_above_the_threshold():
    sae = ExpanderSAE(MASK, 3, activation="batch_topk").train()
    h = torch.randn(50, 12) * torch.linspace(0.1, 2, 50)[:, None]
    scores = (h @ torch.from_numpy(explicit(sae)).float().T).relu().flatten()
    acts, _ = sae.encode(h)
    kept = acts[acts > 0].sort().values
    torch.testing.assert_close(kept, scores.sort().values[-150:])
    per_token = (acts > 0).sum(dim=1)
    assert per_token.max() > 3 > per_token.min()
    sae.follow_threshold(acts)
    assert float(sae.threshold) == pytest.approx(float(kept[0]))
    sae.follow_threshold(2 * acts)
    assert float(sae.threshold) == pytest.approx(1.01 * float(kept[0]))
    acts, _ = sae.eval().encode(h[:1])
    assert (acts[acts > 0] > sae.threshold).all()
    with torch.no_grad():
        sae.threshold.fill_(0.9)
    assert torch.equal(sae.encode(h)[0][:10] > 0, sae.encode(h[:10])[0] > 0), "a token's code depends on itself alone"


def test_bad_arguments_are_named():
    with pytest.raises(InvalidArgument, match="k = 31"):
        ExpanderSAE(MASK, 31)
    with pytest.raises(InvalidArgument, match="n = 0"):
        TopKSAE(3, 0, 1)
    with pytest.raises(InvalidArgument, match="encoder"):
        TopKSAE(3, 4, 1, encoder="loose")
    with pytest.raises(InvalidArgument, match="selection = 'magnitude': must be 'signed' for batch_topk"):
        TopKSAE(3, 4, 1, activation="batch_topk", selection="magnitude")
    with pytest.raises(InvalidArgument, match="mean_square_norm"):
        TopKSAE(3, 4, 1).fit_normalisation(torch.zeros(3), 0.0)
