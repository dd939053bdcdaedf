"""The adaptor for SAEBench: its members mean what SAEBench takes them to mean."""

from dataclasses import asdict

import pytest
import torch

from expander_theory import InvalidArgument
from expander_theory.masks import uniform_mask
from sae_bridge.interop import ImportedSAE, ImportedTensors, SAEBenchSAE, saebench_sae
from sae_bridge.sae import BlockSAE, ExpanderSAE, TopKSAE

PLACE = {"layer": 3, "hook": "resid_post", "context": 64}


def made(kind):
    mask = uniform_mask(12, 30, 4, seed=0)
    torch.manual_seed(0)
    sae = {
        "dense": lambda: TopKSAE(12, 30, 3, encoder="warm"),
        "expander": lambda: ExpanderSAE(mask, 3, encoder="random"),
        "pursuit": lambda: ExpanderSAE(mask, 3, encoder="omp"),
        "block": lambda: BlockSAE(uniform_mask(12, 26, 4, seed=0), 4, 3, encoder="omp_nonnegative"),
        "imported": lambda: ImportedSAE(
            ImportedTensors(*torch.randn(2, 30, 12), torch.zeros(30), torch.zeros(12)), k=3
        ),
    }[kind]()
    if kind != "imported":
        sae.fit_normalisation(torch.linspace(-1, 1, 12), 7.0)
    return sae.eval()


@pytest.mark.parametrize("kind", ["dense", "expander", "pursuit", "block", "imported"])
def test_reconstructions_are_those_of_the_sae(kind):
    sae = made(kind)
    adapted = saebench_sae(sae, PLACE, "pythia-70m-deduped")
    h = 3 * torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))
    codes = adapted.encode(h)
    assert codes.shape == (2, 5, adapted.cfg.d_sae)
    assert (codes >= 0).all()
    assert int((codes > 0).sum(dim=-1).max()) <= 3
    with torch.no_grad():
        wanted = sae(h.reshape(-1, 12))[0].reshape(h.shape)
    torch.testing.assert_close(adapted(h), wanted)
    torch.testing.assert_close(torch.linalg.vector_norm(adapted.W_dec, dim=1), torch.ones(adapted.cfg.d_sae))
    assert adapted.W_enc.shape == adapted.W_dec.T.shape
    assert adapted.cfg.d_sae == (60 if kind == "pursuit" else 30)  # signs make two of one
    assert adapted.cfg.hook_name == "blocks.3.hook_resid_post"
    assert asdict(adapted.cfg) == adapted.cfg.to_dict()


def test_an_encoder_with_weights_is_given_as_such():
    for kind in ("dense", "expander"):
        sae = made(kind)
        adapted = saebench_sae(sae, PLACE, "x")
        h = torch.randn(6, 12)
        scores = (h - adapted.b_dec) @ adapted.W_enc + adapted.b_enc
        top = scores.topk(3, dim=1)
        wanted = torch.zeros_like(scores).scatter(1, top.indices, top.values.relu())
        torch.testing.assert_close(adapted.encode(h), wanted)


def test_codes_may_be_changed_in_place_and_decoding_has_a_gradient():
    adapted = saebench_sae(made("pursuit"), PLACE, "x")
    codes = adapted.encode(torch.randn(4, 12))
    codes[:] = 1.0
    codes.requires_grad_()
    adapted.decode(codes).sum().backward()
    assert codes.grad is not None
    moved = adapted.to(device="cpu", dtype=torch.float64)
    assert moved.dtype == torch.float64
    assert moved.encode(torch.randn(4, 12, dtype=torch.float64)).dtype == torch.float64


def test_what_it_needs_is_said():
    with pytest.raises(InvalidArgument, match="must say the layer"):
        saebench_sae(made("dense"), {}, "x")
    with pytest.raises(InvalidArgument, match="training mode"):
        SAEBenchSAE(made("dense").train(), model_name="x", layer=0, hook="resid_post")


def test_saebench_itself_takes_it():
    base = pytest.importorskip("sae_bench.custom_saes.base_sae", reason="SAEBench is not installed")
    adapted = saebench_sae(made("pursuit"), PLACE, "x")
    asked = base.BaseSAE.__abstractmethods__
    assert {"encode", "decode", "forward"} <= asked
    assert [name for name in asked if not callable(getattr(adapted, name, None))] == []
    assert {"W_enc", "W_dec", "b_enc", "b_dec"} <= set(dict(adapted.named_parameters()))
