"""Folders both ways against the real sparsify."""

import pytest
import torch
from support import foreign
from support.foreign import FIELDS, K, M, N

from sae_bridge.interop import ImportedSAE, export_sparsify, load_any
from sae_bridge.sae.sae import TopKSAE

sparsify = pytest.importorskip("sparsify", exc_type=ImportError)
if not hasattr(sparsify, "SparseCoder"):
    pytest.skip("another package of the name sparsify", allow_module_level=True)


def theirs(coder, h):
    with torch.no_grad():
        acts, indices, _ = coder.encode(h)
        torch.testing.assert_close(coder(h).sae_out, coder.decode(acts, indices))
        return foreign.dense(acts, indices), coder.decode(acts, indices)


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)
    assert expected[0].count_nonzero() > 0


@pytest.mark.parametrize("how", [{}, {"encoder": "tied"}, {"mask": None}], ids=str)
def test_sparsify_loads_ours(tmp_path, how):
    sae, h = foreign.ours(**how), foreign.activations()
    where = export_sparsify(sae, tmp_path, FIELDS)
    loaded = sparsify.SparseCoder.load_from_disk(where)
    codes, h_hat = foreign.outputs(sae, h)
    same(theirs(loaded, h), (codes / sae.scale, h_hat))
    assert list(sparsify.SparseCoder.load_many(str(tmp_path), local=True)) == ["layers.3"]
    loaded.save_to_disk(tmp_path / "layers.4")
    back, fields = load_any(tmp_path / "layers.4")
    assert fields == {"layer": 4, "hook": "resid_post"}
    same(foreign.outputs(back, h), (codes / sae.scale, h_hat))


@pytest.mark.parametrize("unit", [True, False], ids=["unit", "any norm"])
@pytest.mark.parametrize("size", [{"num_latents": N}, {"num_latents": 0, "expansion_factor": 2}], ids=str)
def test_we_load_theirs(tmp_path, unit, size):
    n = size["num_latents"] or 2 * M
    tensors, h = foreign.saelens_tensors(n=n, unit=unit), foreign.activations()
    config = sparsify.SparseCoderConfig(k=K, normalize_decoder=unit, **size)
    coder = sparsify.SparseCoder(M, config, dtype=torch.float64)
    with torch.no_grad():
        coder.encoder.weight.copy_(tensors["W_enc"].T)
        coder.encoder.bias.copy_(tensors["b_enc"])
        coder.W_dec.copy_(tensors["W_dec"])
        coder.b_dec.copy_(tensors["b_dec"])
        acts, indices, _ = coder.encode(h)
    coder.save_to_disk(tmp_path / "h.5")
    sae, fields = load_any(tmp_path / "h.5")
    assert isinstance(sae, TopKSAE if unit else ImportedSAE)
    assert fields == {"layer": 5, "hook": "resid_post"}
    same(foreign.outputs(sae, h), (foreign.dense(acts, indices, n), coder.decode(acts, indices).detach()))
