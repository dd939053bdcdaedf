"""SAEs for SAELens and sparsify and theirs for us, without either library: files, meanings, errors."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support import foreign
from support.foreign import FIELDS, MASK, K, M, N

from expander_theory import InvalidArgument, InvalidFile, Mask, uniform_mask
from sae_bridge.codes.coder import Coder
from sae_bridge.evaluation.reconstruction import reconstruction
from sae_bridge.interop import (
    ImportedSAE,
    export_native,
    export_saelens,
    export_sparsify,
    import_saelens,
    import_sparsify,
    load_any,
)
from sae_bridge.interop.native_files import DIGITS, digits_of, rows_of
from sae_bridge.sae.loading import load_sae
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE

CLOSE = {"atol": 1e-10, "rtol": 1e-10}
OURS = [
    {},
    {"encoder": "tied"},
    {"mask": None},
    {"mask": None, "encoder": "tied"},
    {"selection": "magnitude"},
    {"activation": "batch_topk"},
    {"mask": None, "activation": "batch_topk"},
]


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    assert expected[0].count_nonzero() > 0


@pytest.mark.parametrize("how", OURS, ids=str)
def test_saelens_export_means_the_same_on_raw_activations(tmp_path, how):
    sae, h = foreign.ours(**how), foreign.activations()
    export_saelens(sae, tmp_path / "x", FIELDS)
    codes, h_hat = foreign.outputs(sae, h)
    assert (codes != 0).sum(dim=1).max() < 8 * K  # a BatchTopK token at its limit would differ
    about, tensors = foreign.read(tmp_path / "x")
    expected = (codes / sae.scale, h_hat)
    same(foreign.saelens_outputs(about, tensors, h), expected)
    back, fields = import_saelens(tmp_path / "x")
    same(foreign.outputs(back, h), expected)
    assert back.k == K
    assert fields == {key: FIELDS[key] for key in ("language_model", "layer", "hook", "context")}
    assert isinstance(back, TopKSAE)
    assert back.activation == ("jumprelu" if sae.activation == "batch_topk" else "topk")


def test_saelens_files(tmp_path):
    sae = foreign.ours()
    export_saelens(sae, tmp_path / "x", FIELDS, model_name="model-small")
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    about, tensors = foreign.read(tmp_path / "x")
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    assert shapes == {"W_enc": (M, N), "W_dec": (N, M), "b_enc": (N,), "b_dec": (M,)}
    torch.testing.assert_close(tensors["W_dec"].norm(dim=1), torch.ones(N, dtype=torch.float64))
    outside = MASK.to_scipy().toarray().T == 0
    assert not tensors["W_dec"].numpy()[outside].any()
    assert not tensors["W_enc"].numpy().T[outside].any()
    meta = about["metadata"]
    assert about["architecture"] == "topk"
    assert about["dtype"] == "float64"
    assert meta["model_name"] == "model-small"
    assert (meta["hook_name"], meta["context_size"], meta["prepend_bos"]) == ("blocks.3.hook_resid_post", 64, True)
    assert meta["mask_sha256"] == MASK.sha256
    assert meta["codes_divided_by"] == pytest.approx(0.37)


def test_metadata_say_only_what_is_known(tmp_path):
    export_saelens(foreign.ours(), tmp_path / "x")
    meta = foreign.read(tmp_path / "x")[0]["metadata"]
    assert not {"model_name", "hook_name", "context_size", "prepend_bos"} & set(meta)


@pytest.mark.parametrize("how", [{}, {"mask": None}, {"encoder": "tied"}, {"mask": None, "encoder": "tied"}], ids=str)
def test_sparsify_export(tmp_path, how):
    sae, h = foreign.ours(**how), foreign.activations()
    where = export_sparsify(sae, tmp_path, FIELDS)
    assert where == tmp_path / "layers.3"
    about, tensors = foreign.read(where, "sae.safetensors")
    assert (about["d_in"], about["num_latents"], about["k"], about["activation"]) == (M, N, K, "topk")
    scores = ((h - tensors["b_dec"]) @ tensors["encoder.weight"].T + tensors["encoder.bias"]).relu()
    top = scores.topk(K, dim=1)
    theirs = foreign.dense(top.values, top.indices)
    codes, h_hat = foreign.outputs(sae, h)
    same((theirs, theirs @ tensors["W_dec"] + tensors["b_dec"]), (codes / sae.scale, h_hat))
    back, fields = import_sparsify(where)
    assert isinstance(back, TopKSAE)
    assert fields == {key: FIELDS[key] for key in ("language_model", "layer", "hook", "context")}
    same(foreign.outputs(back, h), (codes / sae.scale, h_hat))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"layer": 4, "hook": "resid_post"}, "layers.4"),
        ({"layer": 4, "hook": "resid_pre"}, "layers.3"),
        ({"layer": 0, "hook": "resid_pre"}, "embed_tokens"),
    ],
)
def test_hookpoints_are_the_modules_whose_output_it_is(tmp_path, fields, name):
    where = export_sparsify(foreign.ours(), tmp_path, fields)
    assert where == tmp_path / name
    assert import_sparsify(where)[1] == fields
    about, _ = foreign.read(where, "sae.safetensors")
    (where / "cfg.json").write_text(json.dumps({k: v for k, v in about.items() if k != "expander_theory"}))
    by_name = {"layer": 3, "hook": "resid_post"} if name == "layers.3" else fields
    assert import_sparsify(where)[1] == by_name


def test_what_sparsify_cannot_say(tmp_path):
    for how, match in (({"activation": "batch_topk"}, "batch_topk"), ({"selection": "magnitude"}, "magnitude")):
        with pytest.raises(InvalidArgument, match=match):
            export_sparsify(foreign.ours(**how), tmp_path, FIELDS)
    with pytest.raises(InvalidArgument, match="hookpoint"):
        export_sparsify(foreign.ours(), tmp_path, {})
    for name in ("..", "a/b"):
        with pytest.raises(InvalidArgument, match="hookpoint"):
            export_sparsify(foreign.ours(), tmp_path, hookpoint=name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("export", [export_saelens, export_native, lambda *a: export_sparsify(*a, hookpoint="h.0")])
def test_nan_is_not_exported(tmp_path, export):
    sae = foreign.ours()
    with torch.no_grad():
        sae.weight[3, 1] = torch.nan
    with pytest.raises(InvalidArgument, match=r"sae\.weight"):
        export(sae, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("topk", {"k": K}),
        ("topk", {"k": K, "rescale_acts_by_decoder_norm": True}),
        ("topk", {"k": K, "apply_b_dec_to_input": False, "rescale_acts_by_decoder_norm": True}),
        ("abstopk", {"k": K}),
        ("standard", {}),
        ("standard", {"apply_b_dec_to_input": False}),
        ("jumprelu", {}),
        ("batchtopk", {"k": 5.6, "rescale_acts_by_decoder_norm": True}),
        ("batchtopk", {"k": 5.6}),
    ],
)
@pytest.mark.parametrize("unit", [True, False], ids=["unit", "any norm"])
def test_imported_saelens_architectures(tmp_path, kind, more, unit):
    tensors, h = foreign.saelens_tensors(unit=unit), foreign.activations()
    if kind == "jumprelu":
        tensors["threshold"] = torch.linspace(-1, 8, N, dtype=torch.float64)
    if kind == "batchtopk":
        tensors["topk_threshold"] = torch.tensor(2.5, dtype=torch.float64)
    about = foreign.saelens_configuration(kind, **more)
    sae, fields = load_any(foreign.write(tmp_path / "x", about, tensors))
    same(foreign.outputs(sae, h), foreign.saelens_outputs(about, tensors, h))
    assert fields == {"language_model": "gpt2", "layer": 5, "hook": "resid_pre"}
    assert not sae.training
    unit = unit or more.get("rescale_acts_by_decoder_norm", False)
    assert isinstance(sae, TopKSAE) == ("topk" in kind and unit)
    if kind == "batchtopk":
        assert sae.k == 6
    acts, indices = sae.encode(h)
    assert all(len(set(row[a != 0].tolist())) == int((a != 0).sum()) for row, a in zip(indices, acts, strict=True))


def test_dividing_columns_by_their_norms_would_change_topk():
    """Why columns stay as they are: the formula with folded norms chooses other features."""
    tensors, h = foreign.saelens_tensors(unit=False), foreign.activations()
    about = foreign.saelens_configuration(k=K)
    codes, _ = foreign.saelens_outputs(about, tensors, h)
    folded, _ = foreign.saelens_outputs({**about, "rescale_acts_by_decoder_norm": True}, tensors, h)
    assert ((codes != 0) != (folded != 0)).any()


def test_thresholds_are_chunked_without_a_trace(tmp_path, monkeypatch):
    tensors, h = foreign.saelens_tensors(), foreign.activations()
    sae, _ = import_saelens(foreign.write(tmp_path / "x", foreign.saelens_configuration("standard"), tensors))
    whole = foreign.outputs(sae, h)
    monkeypatch.setattr("sae_bridge.interop.imported._SCORES", 3 * N)
    same(foreign.outputs(sae, h), whole)
    assert sae.encode(h[:0])[0].shape == (0, 1)
    hopeless = h.new_full((2, M), 0.0)
    with torch.no_grad():
        sae.b_enc.fill_(-1e6)
    assert not sae.encode(hopeless)[0].any()


def test_older_saelens_configurations(tmp_path):
    tensors, h = foreign.saelens_tensors(), foreign.activations()
    new = foreign.saelens_configuration("topk", k=K)
    old = {key: value for key, value in new.items() if key not in ("metadata", "architecture", "k")}
    old |= {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}, "hook_name": "blocks.2.hook_resid_post"}
    sae, fields = load_any(foreign.write(tmp_path / "x", old, tensors))
    assert fields == {"layer": 2, "hook": "resid_post"}
    same(foreign.outputs(sae, h), foreign.saelens_outputs(new, tensors, h))
    foreign.write(tmp_path / "y", {**old, "activation_fn_str": "tanh-relu"}, tensors)
    with pytest.raises(InvalidFile, match="tanh-relu"):
        load_any(tmp_path / "y")


def test_16_bit_weights_are_read_as_float32(tmp_path):
    tensors = foreign.saelens_tensors(dtype=torch.bfloat16)
    sae, _ = import_saelens(foreign.write(tmp_path / "x", foreign.saelens_configuration(k=K), tensors))
    assert sae.weight.dtype == torch.float32
    assert torch.equal(sae.weight.bfloat16(), tensors["W_dec"])


def test_imported_saes_are_evaluated_and_inferred(tmp_path):
    """Those that are no class of ours go through the same functions."""
    from support.stores import random_store

    store = random_store(m=M)
    tensors = foreign.saelens_tensors(unit=False)
    for kind, more in (("topk", {"k": K}), ("standard", {})):
        folder = foreign.write(tmp_path / kind, foreign.saelens_configuration(kind, **more), tensors)
        sae, _ = load_any(folder, k=K)
        assert isinstance(sae, ImportedSAE)
        found = reconstruction(sae, store, progress=False)
        assert found.l0 <= K if kind == "topk" else found.l0 > K
        coder, h = Coder(sae), store.rows("held_out").double()
        error = {}
        for method in ("encoder", "omp", "least_squares", "mp"):
            acts, indices = coder(h, method)
            assert acts.shape[1] == (K if kind == "topk" or method in ("omp", "mp") else indices.shape[1])
            error[method] = float((sae.decode(acts, indices) - h).square().sum().detach())
        assert error["omp"] < error["encoder"]
        assert error["least_squares"] < error["encoder"]


def test_k_of_thresholds_is_asked_for(tmp_path):
    folder = foreign.write(tmp_path / "x", foreign.saelens_configuration("standard"), foreign.saelens_tensors())
    with pytest.raises(InvalidArgument, match="k = None"):
        _ = load_any(folder)[0].k
    assert load_any(folder, k=4)[0].k == 4
    with pytest.raises(InvalidArgument, match="k = 51"):
        load_any(folder, k=51)


def broken_saelens(change):
    about, tensors = foreign.saelens_configuration(k=K), foreign.saelens_tensors()
    change(about, tensors)
    return about, tensors


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda a, t: a.update(architecture="temporal"), "'temporal'; those that can be read: topk"),
        (lambda a, t: a.update(normalize_activations="expected_average_only_in"), "expected_average"),
        (lambda a, t: a.update(d_in=M + 1), r"W_enc of shape \(20, 50\), expected \(21, 50\)"),
        (lambda a, t: a.update(d_sae="50"), "d_sae = '50'"),
        (lambda a, t: a.update(k=None), "k = None"),
        (lambda a, t: t["W_dec"].fill_(torch.nan), "NaN or infinity in W_dec"),
        (lambda a, t: t.pop("b_enc"), "no tensor b_enc"),
        (lambda a, t: t.update(W_skip=torch.zeros(2)), "not understood: W_skip"),
        (lambda a, t: t.update(scaling_factor=torch.full((N,), 2.0)), "scaling_factor"),
        (lambda a, t: (a.update(rescale_acts_by_decoder_norm=True), t["W_dec"][3].zero_()), "zero decoder column"),
        (lambda a, t: (a.pop("d_sae"), a.pop("metadata")), "not the configuration of a SAELens"),
    ],
)
def test_saelens_folders_that_are_refused(tmp_path, change, match):
    about, tensors = broken_saelens(change)
    with pytest.raises(InvalidFile, match=match):
        load_any(foreign.write(tmp_path / "x", about, tensors))


def test_damaged_files_are_named(tmp_path):
    with pytest.raises(InvalidFile, match=r"cfg\.json is missing"):
        load_any(tmp_path)
    export_saelens(foreign.ours(), tmp_path / "x")
    weights = tmp_path / "x" / "sae_weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidFile, match=r"sae_weights\.safetensors: truncated"):
        load_any(tmp_path / "x")
    weights.unlink()
    with pytest.raises(InvalidFile, match="no such file"):
        load_any(tmp_path / "x")
    for text in ("{", "[1]"):
        (tmp_path / "x" / "cfg.json").write_text(text)
        with pytest.raises(InvalidFile, match="damaged"):
            load_any(tmp_path / "x")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"activation": "groupmax"}, "groupmax"),
        ({"transcode": True}, "transcode"),
        ({"skip_connection": True}, "skip_connection"),
        ({"num_latents": 0, "expansion_factor": 3}, "expected"),
        ({"d_in": 0}, "d_in = 0"),
    ],
)
def test_sparsify_folders_that_are_refused(tmp_path, change, match):
    where = export_sparsify(foreign.ours(), tmp_path, FIELDS)
    about, _ = foreign.read(where, "sae.safetensors")
    (where / "cfg.json").write_text(json.dumps({**about, **change}))
    with pytest.raises(InvalidFile, match=match):
        load_any(where)


def test_a_folder_of_hookpoints_asks_for_one(tmp_path):
    export_sparsify(foreign.ours(), tmp_path, FIELDS)
    with pytest.raises(InvalidFile, match=r"name one: layers\.3"):
        import_sparsify(tmp_path)


@pytest.mark.parametrize("how", [how for how in OURS if how.get("mask", MASK) is not None], ids=str)
def test_the_native_folder_keeps_the_mask(tmp_path, how):
    sae, h = foreign.ours(**how), foreign.activations()
    export_native(sae, tmp_path / "x", FIELDS)
    back, fields = load_any(tmp_path / "x")
    assert isinstance(back, ExpanderSAE)
    assert back.mask == MASK
    assert back.mask.recipe == MASK.recipe
    assert fields["layer"] == 3
    codes, h_hat = foreign.outputs(sae, h)
    same(foreign.outputs(back, h), (codes / sae.scale, h_hat))
    _, tensors = foreign.read(tmp_path / "x")
    assert tensors["weight"].shape == MASK.rows.shape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.uint8])
@pytest.mark.parametrize("m", [1, 2, 256, 257, 65536, 65537, 2**24 + 5])
def test_supports_survive_any_cast(dtype, m):
    edges = np.array([[0, m // 2, m - 1, 255 % m, 256 % m, 257 % m]])
    digits = digits_of(edges, m)
    assert digits.dtype == torch.uint8
    assert torch.equal(rows_of(digits.to(dtype)), torch.from_numpy(edges).int())


def test_native_folders_that_are_refused(tmp_path):
    with pytest.raises(InvalidArgument, match="ExpanderSAE"):
        export_native(foreign.ours(mask=None), tmp_path / "x")
    export_native(foreign.ours(), tmp_path / "x", FIELDS)
    about, tensors = foreign.read(tmp_path / "x")

    def refused(match, about=about, **changed):
        foreign.write(tmp_path / "y", about, {**tensors, **changed})
        with pytest.raises(InvalidFile, match=match):
            load_any(tmp_path / "y")

    other = uniform_mask(M, N, 4, seed=9)
    refused("altered: its mask", **{DIGITS: digits_of(other.rows, M)})
    refused("altered: its mask", about={**about, "mask_sha256": "0" * 64})
    refused("holds no mask", **{DIGITS: digits_of(np.full_like(MASK.rows, 3), M)})
    refused("rows_base_256 of shape", **{DIGITS: digits_of(Mask(M, MASK.rows[:, :3]).rows, M)})
    refused("not of unit norm", weight=2 * tensors["weight"])
    refused("activation", about={**about, "activation": "relu"})


@pytest.mark.parametrize("kind", ["saelens", "saelens-expander", "sparsify"])
def test_commands_there_and_back(tmp_path, capsys, kind):
    sae, h = foreign.ours(), foreign.activations()
    sae.save(tmp_path / "sae", FIELDS)
    from sae_bridge.commands.files.export import Export
    from sae_bridge.commands.files.import_ import Import

    Export(tmp_path / "sae", tmp_path / "out", kind).run()
    source = tmp_path / "out" / "layers.3" if kind == "sparsify" else tmp_path / "out"
    Import(source, tmp_path / "back").run()
    assert "0.37" in capsys.readouterr().out
    back, fields = load_sae(tmp_path / "back")
    codes, h_hat = foreign.outputs(sae, h)
    same(foreign.outputs(back, h), (codes / sae.scale, h_hat))
    assert fields["layer"] == 3
    assert isinstance(back, ExpanderSAE) == (kind == "saelens-expander")
    with pytest.raises(InvalidFile, match="exists already"):
        Export(tmp_path / "sae", tmp_path / "out", kind).run()
    with pytest.raises(InvalidArgument, match="out"):
        Export(tmp_path / "sae", tmp_path / "sae", kind, force=True).run()


def test_import_refuses_what_our_folder_cannot_hold(tmp_path):
    from sae_bridge.commands.files.import_ import Import

    for name, kind, unit, match in (("a", "standard", True, "ReLU"), ("b", "topk", False, "not unit")):
        about = foreign.saelens_configuration(kind, k=K)
        folder = foreign.write(tmp_path / name, about, foreign.saelens_tensors(unit=unit))
        with pytest.raises(InvalidFile, match=match):
            Import(folder, tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


def test_safetensors_without_our_header_are_read(tmp_path):
    """Theirs have no metadata in the file."""
    folder = foreign.write(tmp_path / "x", foreign.saelens_configuration(k=K), foreign.saelens_tensors())
    save_file(foreign.saelens_tensors(), folder / "sae_weights.safetensors", metadata={"format": "pt"})
    assert load_any(folder)[0].n == N
