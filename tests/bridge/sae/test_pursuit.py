"""SAEs whose encoder is OMP: codes, gradients, files, export."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.streams import MemoryStream

from expander_theory import InvalidArgument, InvalidFile, omp, uniform_mask
from sae_bridge.codes.coder import Coder
from sae_bridge.interop import export_native, export_saelens, export_sparsify, load_any
from sae_bridge.sae import ExpanderSAE, TopKSAE, load_sae, pruned, storage
from sae_bridge.training.recipe import Training
from sae_bridge.training.train import train

M, N, D, K = 32, 64, 4, 4
MASK = uniform_mask(M, N, D, seed=0)
PURSUITS = ("omp", "omp_nonnegative")


def make(kind, encoder, dtype=torch.float64):
    sae = ExpanderSAE(MASK, K, encoder=encoder) if kind == "mask" else TopKSAE(M, N, K, encoder=encoder)
    sae.fit_normalisation(torch.linspace(-1, 1, M), 30.0)
    return sae.to(dtype).eval()


def tokens(count=40, seed=0):
    return torch.randn(count, M, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("encoder", PURSUITS)
@pytest.mark.parametrize("kind", ["mask", "dense"])
def test_encode_is_omp_on_the_decoder(kind, encoder):
    sae, h = make(kind, encoder), tokens()
    how = "magnitude" if encoder == "omp" else "nonnegative"
    expected = omp(sae.dictionary(), sae.centred(h).detach().numpy(), K, selection=how)
    acts, indices = sae.encode(h)
    assert (acts >= 0).all() == (encoder == "omp_nonnegative")
    np.testing.assert_allclose(acts, expected.coefficients, atol=1e-9)
    assert np.array_equal(indices, np.maximum(expected.indices, 0))
    assert (sae.encoding, sae.selection) == (encoder, "magnitude" if encoder == "omp" else "signed")
    own, others = (full(*Coder(sae)(h, method)) for method in ("encoder", encoder))
    np.testing.assert_allclose(own, others, atol=1e-9)


def full(acts, indices):
    return np.asarray(torch.zeros(len(acts), N, dtype=acts.dtype).scatter_add(1, indices, acts))


@pytest.mark.parametrize("encoder", PURSUITS)
@pytest.mark.parametrize("kind", ["mask", "dense"])
def test_the_gradient_with_codes_held_constant_is_that_of_the_loss(kind, encoder):
    """Envelope theorem: finite differences of ||h - h_hat||^2 follow the codes, the gradient does not have to."""
    sae, h = make(kind, encoder), tokens()

    def loss():
        return (h - sae(h)[0]).square().sum()

    loss().backward()
    assert sae.b_enc.grad is None
    for name in ("weight", "b_dec"):
        parameter = getattr(sae, name)
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        step, ends = 1e-6, []
        with torch.no_grad():
            for sign in (1, -2):  # there, and as far on the other side
                parameter += sign * step * direction
                ends.append(float(loss()))
            parameter += step * direction
        slope = float((parameter.grad * direction).sum())
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-5), name


def test_a_code_that_is_no_pursuit_has_another_gradient():
    """The check above can fail: with the codes of a one-step encoder held constant, the slope is another."""
    sae, h = make("mask", "tied"), tokens()
    acts, indices = sae.encode(h)
    (h - sae.decode(acts.detach(), indices)).square().sum().backward()
    held = sae.weight.grad.clone()
    sae.weight.grad = None
    (h - sae(h)[0]).square().sum().backward()
    assert float((held - sae.weight.grad).norm() / held.norm()) > 0.1


@pytest.mark.parametrize("encoder", PURSUITS)
@pytest.mark.parametrize("kind", ["mask", "dense"])
def test_it_is_the_same_after_saving_and_loading(tmp_path, kind, encoder):
    sae, h = make(kind, encoder, torch.float32), tokens().float()
    sae.save(tmp_path, {"steps": 1})
    again, _ = load_sae(tmp_path)
    assert (again.encoding, again.selection, again.b_enc.requires_grad) == (encoder, sae.selection, False)
    for own, other in zip(sae.encode(h), again.encode(h), strict=True):
        assert torch.equal(own, other)
    parameters = storage(again)["parameters"]
    assert parameters == storage(make(kind, "tied"))["parameters"] - N  # it has no b_enc


def test_codes_follow_a_decoder_that_changes():
    sae, h = make("mask", "omp"), tokens()
    before = sae.encode(h)
    with torch.no_grad():
        sae.weight.data.mul_(torch.where(torch.arange(N) % 2 == 0, 1.0, -1.0)[:, None])
    acts, indices = sae.encode(h)
    assert torch.equal(indices, before[1])
    torch.testing.assert_close(acts, before[0] * torch.where(indices % 2 == 0, 1.0, -1.0))
    sae.load_state_dict(ExpanderSAE(uniform_mask(M, N, D, seed=1), K, encoder="omp", seed=3).double().state_dict())
    expected = omp(sae.dictionary(), sae.centred(h).detach().numpy(), K)
    assert np.array_equal(sae.encode(h)[1], expected.indices)


@pytest.mark.parametrize("encoder", PURSUITS)
def test_training_learns_and_the_trained_encoder_is_what_it_learned_with(tmp_path, encoder):
    how = Training(d=D, n=N, k=K, steps=200, encoder=encoder, dead_after=1000)
    sae = train({"a": how, "b": replace(how, steps=1)}, MemoryStream(), tmp_path, progress=False)
    h = MemoryStream().sample(2048)
    errors = {name: float((h - own(h)[0]).detach().square().sum()) for name, own in sae.items()}
    assert errors["a"] < 0.93 * errors["b"]
    assert not sae["a"].b_enc.any()
    again, fields = load_sae(tmp_path / "a")
    assert fields["encoder"] == again.encoding == encoder
    assert torch.equal(again(h)[0], sae["a"](h)[0])


def test_a_run_of_an_earlier_release_is_read_as_what_it_was(tmp_path):
    """It kept OMP in the loop in its training fields, and a tied encoder in the SAE that nothing had trained."""
    sae = make("mask", "tied", torch.float32)
    sae.save(tmp_path, {"codes": "omp"})
    again, _ = load_sae(tmp_path)
    assert (again.encoding, again.selection) == ("omp", "magnitude")


def test_pruning_keeps_the_pursuit():
    assert pruned(make("dense", "omp"), 3).encoding == "omp"
    assert pruned(TopKSAE(M, N, K, encoder="warm"), 3).encoding == "tied"


@pytest.mark.parametrize("encoder", PURSUITS)
def test_export_keeps_the_pursuit_or_refuses(tmp_path, encoder):
    sae, h = make("mask", encoder, torch.float32), tokens().float()
    export_native(sae, tmp_path / "native")
    again, _ = load_any(tmp_path / "native")
    assert again.encoding == encoder
    torch.testing.assert_close(again(h)[0], sae(h)[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again.encode(h)[0] * sae.scale, sae.encode(h)[0], atol=1e-4, rtol=1e-4)
    for export in (export_saelens, lambda own, folder: export_sparsify(own, folder, hookpoint="h.0")):
        with pytest.raises(InvalidArgument, match=f"sae.encoder = '{encoder}': must be one step"):
            export(sae, tmp_path / "other")


def test_a_native_folder_with_another_encoder_is_refused(tmp_path):
    export_native(make("mask", "omp", torch.float32), tmp_path)
    path = tmp_path / "cfg.json"
    path.write_text(path.read_text().replace('"omp"', '"lasso"'))
    with pytest.raises(InvalidFile, match="has the encoder 'lasso'; known: free, omp, omp_nonnegative"):
        load_any(tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"k": 33}, "k = 33: must be at most min"),
        ({"activation": "batch_topk"}, "activation = 'batch_topk': must be 'topk' for the encoder 'omp'"),
        ({"pursuit_steps": 2}, "pursuit_steps = 2: must be 1 for the encoder 'omp'"),
        ({"selection": "signed"}, "selection = 'signed': must be 'magnitude': the encoder 'omp' has signs"),
        ({"encoder": "omp_nonnegative", "selection": "magnitude"}, "'magnitude': must be 'signed'.*has codes >= 0"),
    ],
)
def test_what_a_pursuit_cannot_be(options, says):
    with pytest.raises(InvalidArgument, match=says):
        ExpanderSAE(MASK, **{"k": K, "encoder": "omp", **options})
