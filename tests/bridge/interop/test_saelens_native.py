"""The expander SAE as a class of SAELens."""

import json

import pytest
import torch
from support import foreign
from support.foreign import FIELDS, MASK, K, M, N

from expander_theory import InvalidFile, uniform_mask
from sae_bridge.interop import export_native, export_saelens, load_any

sae_lens = pytest.importorskip("sae_lens", exc_type=ImportError)
native = pytest.importorskip("sae_bridge.interop.native", exc_type=ImportError)
CLOSE = {"atol": 1e-10, "rtol": 1e-10}
OURS = [{}, {"encoder": "tied"}, {"selection": "magnitude"}, {"activation": "batch_topk"}]


@pytest.fixture
def loaded(tmp_path):
    export_native(foreign.ours(), tmp_path / "x", FIELDS)
    return sae_lens.SAE.load_from_disk(tmp_path / "x")


@pytest.mark.parametrize("how", OURS, ids=str)
def test_it_codes_as_ours(tmp_path, how):
    sae, h = foreign.ours(**how), foreign.activations()
    export_native(sae, tmp_path / "x", FIELDS)
    loaded = sae_lens.SAE.load_from_disk(tmp_path / "x")
    assert isinstance(loaded, native.ExpanderLensSAE)
    codes, h_hat = foreign.outputs(sae, h)
    torch.testing.assert_close(loaded.encode(h), codes / sae.scale, **CLOSE)
    torch.testing.assert_close(loaded(h), h_hat, **CLOSE)
    shaped = h.reshape(4, -1, M)
    torch.testing.assert_close(loaded.encode(shaped).reshape(len(h), N), codes / sae.scale, **CLOSE)
    torch.testing.assert_close(loaded(shaped).reshape(len(h), M), h_hat, **CLOSE)
    assert loaded.cfg.metadata.hook_name == "blocks.3.hook_resid_post"


def test_it_stores_d_n_values_and_builds_the_matrices(tmp_path, loaded):
    assert sum(p.numel() for p in loaded.parameters()) == 2 * 4 * N + N + M
    export_saelens(foreign.ours(), tmp_path / "dense", FIELDS)
    dense = sae_lens.SAE.load_from_disk(tmp_path / "dense")
    torch.testing.assert_close(loaded.W_enc, dense.W_enc.data, **CLOSE)
    torch.testing.assert_close(loaded.W_dec, dense.W_dec.data, **CLOSE)
    codes = torch.randn(7, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    codes[2] = 0
    torch.testing.assert_close(loaded.decode(codes), dense.decode(codes), **CLOSE)
    torch.testing.assert_close(loaded.decode(0 * codes), dense.decode(0 * codes), **CLOSE)
    assert loaded.encode(codes[:0, :M]).shape == (0, N)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_supports_survive_the_cast_of_loading(tmp_path, dtype):
    """Row numbers over 256 are no bfloat16: stored as such they would be rounded."""
    wide = uniform_mask(1000, N, 4, seed=0)
    assert not torch.equal(torch.from_numpy(wide.rows.copy()).bfloat16().int(), torch.from_numpy(wide.rows.copy()))
    from sae_bridge.sae.sae import ExpanderSAE

    sae = ExpanderSAE(wide, K, seed=1).eval()
    export_native(sae, tmp_path / "x", FIELDS)
    loaded = sae_lens.SAE.load_from_disk(tmp_path / "x", dtype=dtype)
    assert str(loaded.weight.dtype) == f"torch.{dtype}"
    assert loaded.rows.dtype == torch.int32
    assert (loaded.rows.numpy() == wide.rows).all()
    h = foreign.activations(m=1000).to(loaded.dtype)
    assert torch.isfinite(loaded(h)).all()
    loaded.save_model(tmp_path / "y")
    again = sae_lens.SAE.load_from_disk(tmp_path / "y")
    assert torch.equal(again(h), loaded(h))
    assert load_any(tmp_path / "y")[0].mask == wide


def test_an_altered_mask_is_refused(tmp_path):
    export_native(foreign.ours(), tmp_path / "x", FIELDS)
    path = tmp_path / "x" / "cfg.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mask_sha256": uniform_mask(M, N, 4, seed=7).sha256}))
    with pytest.raises(InvalidFile, match="altered: its mask"):
        sae_lens.SAE.load_from_disk(tmp_path / "x")


@pytest.mark.parametrize("how", OURS, ids=str)
def test_hooks_see_and_change_what_they_do_elsewhere(tmp_path, how):
    """A cache holds every score; a change of the scores changes the choice."""
    sae, h = foreign.ours(**how), foreign.activations()
    export_native(sae, tmp_path / "x", FIELDS)
    export_saelens(sae, tmp_path / "dense", FIELDS)
    loaded, dense = (sae_lens.SAE.load_from_disk(tmp_path / name) for name in ("x", "dense"))
    for_ours, for_theirs = loaded.run_with_cache(h)[1], dense.run_with_cache(h)[1]
    assert set(for_ours) == set(for_theirs)
    for name, value in for_theirs.items():
        torch.testing.assert_close(for_ours[name], value, **CLOSE)

    def favour(scores, hook):
        scores = scores.clone()
        scores[..., 17] += 100
        return scores

    outputs = [s.run_with_hooks(h, fwd_hooks=[("hook_sae_acts_pre", favour)]) for s in (loaded, dense)]
    torch.testing.assert_close(*outputs, **CLOSE)
    assert (outputs[0] - loaded(h)).abs().max() > 1


def test_gradients_reach_the_parameters(loaded):
    loaded(foreign.activations()).square().sum().backward()
    for name, parameter in loaded.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_folding(tmp_path, loaded):
    h = foreign.activations()
    before = loaded(h)
    folded = sae_lens.SAE.load_from_disk(tmp_path / "x", fold_W_dec_norm=True)
    assert torch.equal(folded(h), before)
    loaded.fold_activation_norm_scaling_factor(0.5)
    torch.testing.assert_close(loaded(2 * h), 2 * before, **CLOSE)
    with pytest.raises(NotImplementedError, match="unit norm"):
        loaded.fold_W_dec_norm()
    with pytest.raises(NotImplementedError, match="whitening"):
        loaded.fold_activation_whitening(h[0], torch.eye(M), torch.eye(M))


def test_it_is_made_from_a_configuration_and_moves(loaded):
    config = sae_lens.SAEConfig.from_dict(loaded.cfg.to_dict())
    assert (config.k, config.d, config.mask_sha256) == (K, MASK.d, MASK.sha256)
    half = loaded.to(torch.float32)
    assert half.rows.dtype == torch.int32
    assert half(foreign.activations().float()).dtype == torch.float32
