"""Folders of SAELens and sparsify, both ways, against their formulas written out."""

import pytest
import torch
from support.foreign import dense, read, write

from expander_theory import InvalidArgument, InvalidFile, uniform_mask
from sae_bridge.transcoders import (
    ImportedTranscoder,
    Transcoder,
    export_saelens_transcoder,
    export_sparsify_transcoder,
    import_saelens_transcoder,
    import_sparsify_transcoder,
    load_any_transcoder,
    transcoder,
    transcoder_map,
    transcoder_storage,
)

M_IN, M_OUT, N, K = 12, 10, 30, 4
CLOSE = {"atol": 1e-10, "rtol": 1e-10}


def lens(kind, m_out=M_OUT, **more):
    """A SAELens configuration and its tensors."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (M_IN, N), "W_dec": (N, m_out), "b_enc": (N,), "b_dec": (m_out,)}
    shapes |= {"threshold": (N,)} if "jumprelu" in kind else {}
    shapes |= {"W_skip": (m_out, M_IN)} if "skip" in kind else {}
    tensors = {name: torch.randn(*s, dtype=torch.float64, generator=generator) for name, s in shapes.items()}
    about = {
        **{"architecture": kind, "d_in": M_IN, "d_sae": N, "d_out": m_out, "dtype": "float64", "device": "cpu"},
        **{"apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none"},
        "metadata": {"model_name": "gpt2", "hook_name": "blocks.5.hook_resid_pre",
                     "hook_name_out": "blocks.6.hook_resid_post"},
        **more,
    }  # fmt: skip
    return about, tensors


def lens_outputs(tensors, h):
    z = h @ tensors["W_enc"] + tensors["b_enc"]
    code = z.relu() * (z > tensors["threshold"]) if "threshold" in tensors else z.relu()
    y = code @ tensors["W_dec"] + tensors["b_dec"]
    return code, y + h @ tensors["W_skip"].T if "W_skip" in tensors else y


def coder(m=M_IN, transcode=True, skip=False, **more):
    """A sparsify configuration and its tensors."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"encoder.weight": (N, m), "encoder.bias": (N,), "W_dec": (N, m), "b_dec": (m,)}
    shapes |= {"W_skip": (m, m)} if skip else {}
    tensors = {name: torch.randn(*s, dtype=torch.float64, generator=generator) for name, s in shapes.items()}
    about = {"activation": "topk", "num_latents": N, "k": K, "d_in": m, "expansion_factor": 2}
    return {**about, "transcode": transcode, "skip_connection": skip, **more}, tensors


def coder_outputs(about, tensors, h):
    x = h if about["transcode"] else h - tensors["b_dec"]
    best = (x @ tensors["encoder.weight"].T + tensors["encoder.bias"]).relu().topk(about["k"], dim=1)
    code = torch.zeros(len(h), N, dtype=h.dtype).scatter(1, best.indices, best.values)
    y = code @ tensors["W_dec"] + tensors["b_dec"]
    return code, y + h @ tensors["W_skip"].T if about["skip_connection"] else y


def activations(m=M_IN):
    return 2 * torch.randn(25, m, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.5


def outputs(made, h):
    with torch.no_grad():
        y, acts, indices = made(h)
    return dense(acts, indices, N), y


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    assert expected[0].count_nonzero() > 0


@pytest.mark.parametrize("kind", ["transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"])
def test_reading_those_of_saelens(tmp_path, kind):
    about, tensors = lens(kind)
    made, fields = load_any_transcoder(write(tmp_path / "t", about, tensors))
    assert isinstance(made, ImportedTranscoder)
    same(outputs(made, activations()), lens_outputs(tensors, activations()))
    place = {"input_layer": 5, "input_hook": "resid_pre", "layer": 6, "hook": "resid_post"}
    assert fields == {"language_model": "gpt2", **place}
    assert transcoder_storage(made).values == sum(value.numel() for value in tensors.values()) + N * (
        "threshold" not in tensors
    )
    rows = torch.cat([activations(), torch.zeros(25, M_OUT, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(transcoder_map("it", made).function(rows)[0], outputs(made, activations())[1])


@pytest.mark.parametrize(("transcode", "skip"), [(True, False), (True, True), (False, True)])
def test_reading_those_of_sparsify(tmp_path, transcode, skip):
    about, tensors = coder(transcode=transcode, skip=skip)
    made, fields = load_any_transcoder(write(tmp_path / "layers.3.mlp", about, tensors, "sae.safetensors"))
    assert isinstance(made, Transcoder)
    same(outputs(made, activations()), coder_outputs(about, tensors, activations()))
    assert fields.get("layer", 3) == 3


def ours(square=False, **how):
    m_out = M_IN if square else M_OUT
    made = transcoder(M_IN, m_out, N, K, mask=uniform_mask(m_out, N, 3, seed=0), seed=1, **how).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name in ("b_enc", "b_dec", "b_in", *(("skip",) if how.get("skip") else ())):
            getattr(made, name).normal_(std=0.5, generator=generator)
        made.normalise_columns()
        made.scale.fill_(0.6)
        made.scale_in.fill_(1.4)
        made.threshold.fill_(1.1 if how.get("activation") == "batch_topk" else 0)
    return made.eval()


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("on_mask", [False, True])
def test_ours_for_sparsify(tmp_path, skip, on_mask):
    made = ours(square=True, skip=skip, mask_in=uniform_mask(M_IN, N, 4, seed=5) if on_mask else None)
    folder = export_sparsify_transcoder(made, tmp_path, "layers.3.mlp")
    about, tensors = read(folder, "sae.safetensors")
    code, y = outputs(made, activations())
    same(coder_outputs(about, tensors, activations()), (code / made.scale, y))
    same(outputs(import_sparsify_transcoder(folder)[0], activations()), (code / made.scale, y))


@pytest.mark.parametrize("skip", [False, True])
def test_ours_for_saelens(tmp_path, skip):
    made = ours(activation="batch_topk", skip=skip)
    fields = {
        "input_layer": 2,
        "input_hook": "resid_pre",
        "layer": 2,
        "hook": "resid_post",
        "language_model": "some/lm",
    }
    export_saelens_transcoder(made, tmp_path, fields)
    about, tensors = read(tmp_path)
    code, y = outputs(made, activations())
    same(lens_outputs(tensors, activations()), (code / made.scale, y))
    again, known = import_saelens_transcoder(tmp_path)
    same(outputs(again, activations()), (code / made.scale, y))
    assert known == fields
    assert about["architecture"] == ("jumprelu_skip_transcoder" if skip else "jumprelu_transcoder")


@pytest.mark.parametrize("kind", ["transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"])
def test_saelens_itself_agrees(tmp_path, kind):
    sae_lens = pytest.importorskip("sae_lens", exc_type=ImportError)
    about, tensors = lens(kind)
    theirs = sae_lens.SAE.load_from_disk(write(tmp_path / "t", about, tensors))
    made, _ = import_saelens_transcoder(tmp_path / "t")
    with torch.no_grad():
        same(outputs(made, activations()), (theirs.encode(activations()), theirs(activations())))


def test_what_other_libraries_do_not_have_is_refused(tmp_path):
    with pytest.raises(InvalidArgument, match="equal widths"):
        export_sparsify_transcoder(ours(), tmp_path, "layers.3.mlp")
    with pytest.raises(InvalidArgument, match="topk"):
        export_sparsify_transcoder(ours(square=True, activation="batch_topk"), tmp_path, "layers.3.mlp")
    with pytest.raises(InvalidArgument, match="hookpoint"):
        export_sparsify_transcoder(ours(square=True), tmp_path, "../x")
    with pytest.raises(InvalidArgument, match="no transcoder with TopK"):
        export_saelens_transcoder(ours(), tmp_path)
    with pytest.raises(InvalidArgument, match="magnitude"):
        export_sparsify_transcoder(ours(square=True, selection="magnitude"), tmp_path, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalize_activations": "layer_norm"}, "normalize_activations"),
        ({"apply_b_dec_to_input": True}, "subtracts b_dec"),
        ({"d_out": M_OUT + 1}, "W_dec of shape"),
        ({"d_sae": "30"}, "positive integer"),
        ({"architecture": "skip_transcoder"}, "holds no tensor W_skip"),
        ({"architecture": "topk"}, "not the configuration of a transcoder"),
        ({"metadata": 3}, "metadata"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_folders_of_saelens(tmp_path, change, message):
    about, tensors = lens("transcoder", **change)
    if "architecture" in change:
        about["architecture"] = change["architecture"]
    tensors = {name: value for name, value in lens("transcoder")[1].items()}
    with pytest.raises(InvalidFile, match=message):
        load_any_transcoder(write(tmp_path, about, tensors))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "groupmax"}, "groupmax"),
        ({"k": N + 1}, "more than its 30 features"),
        ({"transcode": False}, "is no transcoder"),
        ({"skip_connection": True}, "holds no tensor W_skip"),
        ({"signed": True}, "signed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_folders_of_sparsify(tmp_path, change, message):
    about, tensors = coder()
    with pytest.raises(InvalidFile, match=message):
        load_any_transcoder(write(tmp_path, {**about, **change}, tensors, "sae.safetensors"))


def test_tensors_that_are_damaged_or_unknown(tmp_path):
    about, tensors = lens("transcoder")
    for change, message in (
        ({"b_enc": torch.full((N,), torch.nan, dtype=torch.float64)}, "NaN or infinity in b_enc"),
        ({"other": torch.zeros(3)}, "not understood: other"),
    ):
        with pytest.raises(InvalidFile, match=message):
            load_any_transcoder(write(tmp_path, about, {**tensors, **change}))
