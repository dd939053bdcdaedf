"""Folders both ways against the real SAELens."""

import pytest
import torch
from support import foreign, foreign_kinds
from support.foreign import FIELDS, K, M, N

from sae_bridge.interop import ImportedSAE, export_saelens, load_any
from sae_bridge.sae.sae import TopKSAE

sae_lens = pytest.importorskip("sae_lens", exc_type=ImportError)
CLOSE = {"atol": 1e-10, "rtol": 1e-10}


def theirs(sae, h):
    with torch.no_grad():
        codes = sae.encode(h)
        torch.testing.assert_close(sae(h), sae.decode(codes), **CLOSE)
        return codes, sae.decode(codes)


def same(found, expected, **close):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **(close or CLOSE))
    assert expected[0].count_nonzero() > 0


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ({}, "topk"),
        ({"mask": None, "encoder": "tied"}, "topk"),
        ({"selection": "magnitude"}, "abstopk"),
        ({"activation": "batch_topk"}, "jumprelu"),
        ({"activation": "jumprelu"}, "jumprelu"),
        ({"activation": "jumprelu", "decoder": "block"}, "jumprelu"),
        ({"activation": "gated"}, "gated"),
        ({"activation": "gated", "decoder": "dense", "encoder": "tied"}, "gated"),
        ({"activation": "batch_topk", "groups": foreign_kinds.GROUPS}, "jumprelu"),
    ],
    ids=str,
)
def test_saelens_loads_ours(tmp_path, how, kind):
    known = "groups" in how or how.get("activation") in ("jumprelu", "gated")
    sae, h = (foreign_kinds.our_kind if known else foreign.ours)(**how), foreign.activations()
    export_saelens(sae, tmp_path / "x", FIELDS)
    loaded = sae_lens.SAE.load_from_disk(tmp_path / "x")
    assert loaded.cfg.architecture() == kind
    assert loaded.dtype == torch.float64
    codes, h_hat = foreign.outputs(sae, h)
    same(theirs(loaded, h), (codes / sae.scale, h_hat))
    meta = loaded.cfg.metadata
    assert (meta.model_name, meta.hook_name) == ("some/model", "blocks.3.hook_resid_post")
    assert (meta.context_size, meta.prepend_bos, meta.model_from_pretrained_kwargs) == (64, True, {})
    torch.testing.assert_close(loaded.get_W_dec_norm(), torch.ones(N, dtype=torch.float64))


def test_saelens_flattens_heads_in_our_order(tmp_path):
    sae, h = foreign_kinds.our_kind("gated"), foreign.activations()
    export_saelens(sae, tmp_path / "x", {**FIELDS, "hook": "attn_z"})
    loaded = sae_lens.SAE.load_from_disk(tmp_path / "x")
    codes, h_hat = foreign.outputs(sae, h)
    same(theirs(loaded, h.reshape(-1, 4, M // 4)), (codes / sae.scale, h_hat.reshape(-1, 4, M // 4)))


def test_single_precision(tmp_path):
    sae, h = foreign.ours().float(), foreign.activations().float()
    export_saelens(sae, tmp_path / "x", FIELDS)
    loaded = sae_lens.SAE.load_from_disk(tmp_path / "x")
    assert loaded.dtype == torch.float32
    codes, h_hat = foreign.outputs(sae, h)
    same(theirs(loaded, h), (codes / sae.scale, h_hat), atol=1e-4, rtol=1e-4)


def classes():
    from sae_lens.saes import abstopk_sae

    shared = {"d_in": M, "d_sae": N, "dtype": "float64"}
    topk = sae_lens.TopKSAE, sae_lens.TopKSAEConfig
    return {
        "topk": (*topk, {**shared, "k": K}),
        "topk rescaled": (*topk, {**shared, "k": K, "rescale_acts_by_decoder_norm": True}),
        "topk without b_dec": (*topk, {**shared, "k": K, "apply_b_dec_to_input": False}),
        "abstopk": (abstopk_sae.AbsTopKSAE, abstopk_sae.AbsTopKSAEConfig, {**shared, "k": K}),
        "standard": (sae_lens.StandardSAE, sae_lens.StandardSAEConfig, shared),
        "jumprelu": (sae_lens.JumpReLUSAE, sae_lens.JumpReLUSAEConfig, shared),
        "gated": (sae_lens.GatedSAE, sae_lens.GatedSAEConfig, shared),
        "gated without b_dec": (
            *(sae_lens.GatedSAE, sae_lens.GatedSAEConfig),
            {**shared, "apply_b_dec_to_input": False},
        ),
    }


def filled(sae, unit):
    tensors = foreign.saelens_tensors(unit=unit)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            parameter.copy_(tensors[name] if name in tensors else torch.linspace(-1, 8, N, dtype=torch.float64))
    return sae


NAMES = [
    *("topk", "topk rescaled", "topk without b_dec", "abstopk", "standard", "jumprelu", "gated", "gated without b_dec"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unit", [True, False], ids=["unit", "any norm"])
def test_we_load_theirs(tmp_path, name, unit):
    cls, config, how = classes()[name]
    sae = filled(cls(config(**how)), unit)
    sae.save_model(tmp_path / "x")
    h = foreign.activations()
    found, _ = load_any(tmp_path / "x")
    same(foreign.outputs(found, h), theirs(sae, h))
    assert isinstance(found, TopKSAE) == ("topk" in name and (unit or name == "topk rescaled"))


@pytest.mark.parametrize("how", ["layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("name", ["topk", "standard", "jumprelu", "gated without b_dec"])
def test_we_load_theirs_that_normalise_tokens(tmp_path, name, how):
    cls, config, options = classes()[name]
    sae = filled(cls(config(**options, normalize_activations=how)), unit=True)
    sae.save_model(tmp_path / "x")
    h = foreign.activations() * torch.linspace(0.1, 30, 40, dtype=torch.float64)[:, None]
    found, _ = load_any(tmp_path / "x", k=K)
    with torch.no_grad():
        codes = sae.encode(h)
        expected = codes, sae.decode(codes)
        h_hat, acts, indices = found(h)
    same((foreign.dense(acts, indices), h_hat), expected)


@pytest.mark.parametrize("name", ["topk", "topk rescaled", "standard", "gated", "gated without b_dec"])
def test_factors_are_folded_as_they_fold_them(tmp_path, name):
    cls, config, options = classes()[name]
    sae = filled(cls(config(**options, normalize_activations="expected_average_only_in")), unit=False)
    sae.save_model(tmp_path / "x")
    sae.fold_activation_norm_scaling_factor(0.3)
    h = foreign.activations()
    same(foreign.outputs(load_any(tmp_path / "x", scaling_factor=0.3)[0], h), theirs(sae, h))


@pytest.mark.parametrize("name", ["topk rescaled", "standard", "gated", "gated without b_dec"])
def test_whitening_is_folded_as_they_fold_it(tmp_path, name):
    from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening

    cls, config, options = classes()[name]
    sae = filled(cls(config(**options, normalize_activations="covariance_whitening")), unit=False)
    sae.save_model(tmp_path / "x")
    matrix = torch.eye(M, dtype=torch.float64) + 0.1 * torch.randn(M, M, dtype=torch.float64)
    whitening = ActivationWhitening(torch.linspace(-1, 1, M, dtype=torch.float64), matrix, torch.linalg.inv(matrix))
    ActivationScaler(whitening=whitening).save(str(tmp_path / "x" / "activation_scaler.json"))
    sae.fold_activation_whitening(whitening.mean, whitening.matrix, whitening.inverse_matrix)
    h = foreign.activations()
    same(foreign.outputs(load_any(tmp_path / "x")[0], h), theirs(sae, h), atol=1e-8, rtol=1e-8)


def config_rescales(sae):
    """Whether its columns are unit after the norms have moved into the scores, so that one of ours means the same."""
    return bool(sae.cfg.rescale_acts_by_decoder_norm)


@pytest.mark.parametrize("groups", [None, [5, 20, N]], ids=["batchtopk", "matryoshka"])
@pytest.mark.parametrize("final", [False, True], ids=["checkpoint", "inference"])
def test_we_load_their_batchtopk(tmp_path, final, groups):
    shared = {"d_in": M, "d_sae": N, "dtype": "float64", "k": 5.6}
    if groups is None:
        sae = sae_lens.BatchTopKTrainingSAE(sae_lens.BatchTopKTrainingSAEConfig(**shared))
    else:
        config = sae_lens.MatryoshkaBatchTopKTrainingSAEConfig(**shared, matryoshka_widths=groups)
        sae = sae_lens.MatryoshkaBatchTopKTrainingSAE(config)
    sae = filled(sae, unit=False)
    sae.topk_threshold = torch.tensor(2.5, dtype=torch.float64)
    sae.save_inference_model(tmp_path / "inference")
    h = foreign.activations()
    expected = theirs(sae_lens.SAE.load_from_disk(tmp_path / "inference"), h)
    if not final:
        sae.save_model(tmp_path / "checkpoint")
    found, fields = load_any(tmp_path / ("inference" if final else "checkpoint"))
    assert fields.get("groups") == groups
    assert isinstance(found, ImportedSAE) == (not config_rescales(sae))
    assert found.k == 6
    same(foreign.outputs(found, h), expected)


def test_we_load_what_they_saved_of_ours(tmp_path):
    sae, h = foreign.ours(), foreign.activations()
    export_saelens(sae, tmp_path / "x", FIELDS)
    sae_lens.SAE.load_from_disk(tmp_path / "x").save_model(tmp_path / "y")
    back, fields = load_any(tmp_path / "y")
    assert fields == {key: FIELDS[key] for key in ("language_model", "layer", "hook", "context")}
    same(foreign.outputs(back, h), foreign.outputs(load_any(tmp_path / "x")[0], h))
