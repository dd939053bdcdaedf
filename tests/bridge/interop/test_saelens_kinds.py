"""JumpReLU, Gated, Matryoshka and normalised SAEs of SAELens, both ways and without it: meanings, errors."""

import json

import pytest
import torch
from safetensors.torch import save_file
from support import foreign, foreign_kinds
from support.foreign import FIELDS, K, M, N
from support.foreign_kinds import GROUPS

from expander_theory import InvalidArgument, InvalidFile
from sae_bridge.interop import (
    ImportedSAE,
    decoded,
    export_native,
    export_saelens,
    export_sparsify,
    import_saelens,
    load_any,
    saebench_sae,
)
from sae_bridge.sae import TopKSAE, load_sae

CLOSE = {"atol": 1e-10, "rtol": 1e-10}
NORMS = ["layer_norm", "constant_norm_rescale"]


def same(found, expected, least=1):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    assert expected[0].count_nonzero() >= least
    assert (expected[0] == 0).sum() > 0


def folder_of(tmp_path, kind, unit=True, **more):
    tensors = foreign.saelens_tensors(unit=unit)
    if kind == "gated":
        tensors = foreign_kinds.gated_tensors(tensors)
    if kind == "jumprelu":
        tensors["threshold"] = torch.linspace(0.1, 8, N, dtype=torch.float64)
    if "batchtopk" in kind:
        tensors["topk_threshold"] = torch.tensor(2.5, dtype=torch.float64)
    more |= {"k": K} if "topk" in kind else {}
    about = foreign.saelens_configuration(kind, **more)
    return foreign.write(tmp_path / "x", about, tensors), about, tensors


def outputs(sae, h):
    """Codes and reconstructions, by ``forward``, which every SAE has."""
    with torch.no_grad():
        h_hat, acts, indices = sae(h)
        torch.testing.assert_close(decoded(sae, h, acts, indices), h_hat, **CLOSE)
    return foreign.dense(acts, indices, sae.n), h_hat


@pytest.mark.parametrize("decoder", ["mask", "dense", "block"])
@pytest.mark.parametrize(
    ("activation", "groups", "kind"),
    [
        ("jumprelu", None, "jumprelu"),
        ("gated", None, "gated"),
        ("batch_topk", GROUPS, "jumprelu"),
        ("topk", GROUPS, "topk"),
    ],
)
def test_ours_written_for_saelens(tmp_path, activation, groups, kind, decoder):
    sae, h = foreign_kinds.our_kind(activation, decoder, groups=groups), foreign.activations()
    export_saelens(sae, tmp_path / "x", FIELDS)
    about, tensors = foreign.read(tmp_path / "x")
    assert about["architecture"] == kind
    names = {"b_gate", "r_mag", "b_mag"} if kind == "gated" else {"b_enc"}
    names |= {"threshold"} if kind == "jumprelu" else set()
    assert set(tensors) == names | {"W_enc", "W_dec", "b_dec"}
    codes, h_hat = foreign.outputs(sae, h)
    expected = (codes / sae.scale, h_hat)
    same(foreign_kinds.lens_outputs(about, tensors, h), expected)
    back, fields = load_any(tmp_path / "x")
    assert isinstance(back, TopKSAE)
    assert back.activation == ("jumprelu" if activation == "batch_topk" else activation)
    assert back.k == K
    same(foreign.outputs(back, h), expected)
    assert fields.get("groups") == (None if groups is None else list(groups))
    assert fields["layer"] == 3


@pytest.mark.parametrize("more", [{}, {"apply_b_dec_to_input": False}], ids=str)
@pytest.mark.parametrize("unit", [True, False], ids=["unit", "any norm"])
@pytest.mark.parametrize("kind", ["gated", "jumprelu"])
def test_gated_and_jumprelu_are_read(tmp_path, kind, unit, more):
    folder, about, tensors = folder_of(tmp_path, kind, unit, **more)
    h = foreign.activations()
    expected = foreign_kinds.lens_outputs(about, tensors, h)
    sae, fields = load_any(folder)
    assert isinstance(sae, ImportedSAE)  # no k is known
    same(outputs(sae, h), expected)
    known, _ = load_any(folder, k=7)
    assert isinstance(known, TopKSAE) == unit
    assert known.k == 7
    assert known.activation == (kind if unit or kind == "gated" else "threshold")
    same(outputs(known, h), expected)
    assert fields == {"language_model": "gpt2", "layer": 5, "hook": "resid_pre"}


@pytest.mark.parametrize("rescaled", [False, True], ids=["as they are", "rescaled"])
@pytest.mark.parametrize("widths", [list(GROUPS), list(GROUPS[:-1])], ids=["whole", "without the last"])
def test_matryoshka_checkpoints_are_read(tmp_path, rescaled, widths):
    more = {"matryoshka_widths": widths, "rescale_acts_by_decoder_norm": rescaled}
    folder, about, tensors = folder_of(tmp_path, "matryoshka_batchtopk", unit=False, **more)
    h = foreign.activations()
    sae, fields = load_any(folder)
    same(outputs(sae, h), foreign_kinds.lens_outputs(about, tensors, h))
    assert fields["groups"] == list(GROUPS)
    assert sae.k == K
    assert isinstance(sae, TopKSAE) == rescaled


def test_matryoshka_for_inference_says_its_groups_in_the_metadata(tmp_path):
    folder, about, _ = folder_of(tmp_path, "jumprelu")
    details = {"matryoshka_widths": list(GROUPS), "k": 5.6}
    about["metadata"] |= {"training_architecture_details": details}
    (folder / "cfg.json").write_text(json.dumps(about))
    sae, fields = load_any(folder)
    assert (fields["groups"], sae.k) == (list(GROUPS), 6)
    for wrong in ([], [5, 5, N], [5, N + 1], [0, N], "all", [5.0, N]):
        details["matryoshka_widths"] = wrong
        (folder / "cfg.json").write_text(json.dumps(about))
        with pytest.raises(InvalidFile, match="matryoshka_widths"):
            load_any(folder)


def test_jumprelu_checkpoints_of_earlier_releases_hold_logarithms(tmp_path):
    folder, about, tensors = folder_of(tmp_path, "jumprelu")
    stored = {**tensors, "log_threshold": tensors["threshold"].log()}
    del stored["threshold"]
    foreign.write(folder, about, stored)
    h = foreign.activations()
    same(outputs(load_any(folder)[0], h), foreign_kinds.lens_outputs(about, tensors, h))


@pytest.mark.parametrize("kind", ["standard", "topk", "jumprelu", "gated", "batchtopk"])
@pytest.mark.parametrize("how", NORMS)
def test_tokens_are_normalised_and_restored(tmp_path, kind, how):
    folder, about, tensors = folder_of(tmp_path, kind, normalize_activations=how)
    h = foreign.activations() * torch.linspace(0.1, 30, 40, dtype=torch.float64)[:, None]
    sae, _ = load_any(folder, k=4)
    assert isinstance(sae, ImportedSAE)
    same(outputs(sae, h), foreign_kinds.lens_outputs(about, tensors, h))
    acts, indices = sae.encode(h)
    with pytest.raises(InvalidArgument, match=f"like.*{how}"):
        sae.decode(acts, indices)
    assert how in sae.unlike_ours


def test_normalised_saes_are_evaluated(tmp_path):
    from support.stores import random_store

    from sae_bridge.evaluation import reconstruction, replacement

    folder, about, tensors = folder_of(tmp_path, "topk", normalize_activations="layer_norm")
    sae, store = load_any(folder)[0], random_store(m=M)
    h = store.rows("held_out").double()
    _, h_hat = foreign_kinds.lens_outputs(about, tensors, h)
    torch.testing.assert_close(replacement(sae)(h), h_hat, **CLOSE)
    found = reconstruction(sae, store, progress=False)
    expected = (h - h_hat).square().sum() / (h - h.mean(dim=0)).square().sum()
    assert found.fvu == pytest.approx(float(expected), rel=1e-6)


def test_what_cannot_be_normalised(tmp_path):
    folder, _, _ = folder_of(tmp_path, "topk", normalize_activations="constant_norm_rescale")
    h = foreign.activations()
    h[3] = 0
    with pytest.raises(InvalidArgument, match="norm zero"):
        load_any(folder)[0].encode(h)
    one = {"W_enc": torch.ones(1, N), "W_dec": torch.ones(N, 1), "b_enc": torch.ones(N), "b_dec": torch.ones(1)}
    about = foreign.saelens_configuration(k=K, m=1, normalize_activations="layer_norm")
    with pytest.raises(InvalidFile, match="d_in = 1"):
        load_any(foreign.write(tmp_path / "one", about, one))


def test_normalised_saes_are_no_linear_decoders(tmp_path):
    from sae_bridge.codes import Coder

    sae, fields = load_any(folder_of(tmp_path, "topk", normalize_activations="layer_norm")[0])
    for use in (lambda: Coder(sae), lambda: saebench_sae(sae, fields, "gpt2")):
        with pytest.raises(InvalidArgument, match="normalises each token"):
            use()


def scaled(tensors, about, h, factor):
    """What an SAE means that was trained on ``factor`` h: its reconstruction is divided by the factor."""
    plain = {**about, "normalize_activations": "none"}
    codes, y = foreign_kinds.lens_outputs(plain, tensors, factor * h)
    return codes, y / factor


@pytest.mark.parametrize("kind", ["standard", "topk", "jumprelu", "gated", "batchtopk"])
@pytest.mark.parametrize("applied", [True, False], ids=["b_dec subtracted", "not"])
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "given"])
def test_activations_times_a_factor(tmp_path, kind, applied, stored):
    more = {"normalize_activations": "expected_average_only_in", "apply_b_dec_to_input": applied}
    folder, about, tensors = folder_of(tmp_path, kind, **more)
    h = foreign.activations()
    if stored:
        (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.7, "has_whitening": false}')
    else:
        with pytest.raises(InvalidFile, match="give scaling_factor"):
            load_any(folder)
    sae, _ = load_any(folder, scaling_factor=None if stored else 0.7)
    same(outputs(sae, h), scaled(tensors, about, h, 0.7))


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_a_factor_where_scores_are_rescaled_by_norms(tmp_path, kind):
    """SAELens divides the decoder by the factor, so that codes are too, and the threshold with them."""
    more = {"normalize_activations": "expected_average_only_in", "rescale_acts_by_decoder_norm": True}
    folder, about, tensors = folder_of(tmp_path, kind, unit=False, **more)
    h = foreign.activations()
    codes, h_hat = scaled(tensors, about, h, 0.7)
    sae, _ = load_any(folder, scaling_factor=0.7)
    same(outputs(sae, h), (codes / 0.7, h_hat))
    assert isinstance(sae, TopKSAE)


@pytest.mark.parametrize("kind", ["topk", "gated", "jumprelu"])
@pytest.mark.parametrize("applied", [True, False], ids=["b_dec subtracted", "not"])
def test_whitened_activations(tmp_path, kind, applied):
    more = {"normalize_activations": "covariance_whitening", "apply_b_dec_to_input": applied}
    folder, about, tensors = folder_of(tmp_path, kind, **more)
    generator = torch.Generator().manual_seed(2)
    matrix = torch.randn(M, M, dtype=torch.float64, generator=generator)
    mean = torch.randn(M, dtype=torch.float64, generator=generator)
    with pytest.raises(InvalidFile, match=r"activation_whitening\.safetensors is missing"):
        load_any(folder)
    whitening = {"mean": mean, "matrix": matrix, "inverse_matrix": torch.linalg.inv(matrix).contiguous()}
    save_file(whitening, folder / "activation_whitening.safetensors")
    h = foreign.activations()
    plain = {**about, "normalize_activations": "none"}
    codes, y = foreign_kinds.lens_outputs(plain, tensors, (h - mean) @ matrix)
    found = outputs(load_any(folder)[0], h)
    torch.testing.assert_close(found[0], codes, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(found[1], torch.linalg.solve(matrix.T, y.T).T + mean, atol=1e-8, rtol=1e-8)


def test_scaling_factors_that_are_refused(tmp_path):
    folder, about, _ = folder_of(tmp_path, "topk", normalize_activations="expected_average_only_in")
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidArgument, match="scaling_factor"):
            load_any(folder, scaling_factor=wrong)
    for wrong in ("0", "-2", '"big"', "true"):
        (folder / "activation_scaler.json").write_text(f'{{"scaling_factor": {wrong}}}')
        with pytest.raises(InvalidFile, match=r"activation_scaler\.json"):
            load_any(folder)
    (folder / "cfg.json").write_text(json.dumps({**about, "normalize_activations": "none"}))
    with pytest.raises(InvalidArgument, match="scaling_factor"):
        load_any(folder, scaling_factor=2.0)
    foreign.ours().save(tmp_path / "ours", FIELDS)
    export_sparsify(foreign.ours(), tmp_path, FIELDS)
    export_native(foreign.ours(), tmp_path / "native", FIELDS)
    for other in ("ours", "layers.3", "native"):
        with pytest.raises(InvalidArgument, match="scaling_factor"):
            load_any(tmp_path / other, scaling_factor=2.0)


def test_releases_before_6_normalised_by_a_boolean(tmp_path):
    tensors = foreign.saelens_tensors()
    new = foreign.saelens_configuration("standard")
    old = {key: value for key, value in new.items() if key not in ("metadata", "architecture")}
    for value, refused in ((True, True), (False, False)):
        folder = foreign.write(tmp_path / str(value), {**old, "normalize_activations": value}, tensors)
        if refused:
            with pytest.raises(InvalidFile, match="expected_average_only_in"):
                load_any(folder)
        else:
            h = foreign.activations()
            same(outputs(load_any(folder)[0], h), foreign_kinds.lens_outputs(new, tensors, h))


def test_codes_of_heads_are_written_as_saelens_reads_heads(tmp_path):
    for hook, reshaped in (("attn_z", "hook_z"), ("attn_out", "none")):
        export_saelens(foreign.ours(), tmp_path / hook, {**FIELDS, "hook": hook})
        about, _ = foreign.read(tmp_path / hook)
        assert about["reshape_activations"] == reshaped
        assert load_any(tmp_path / hook)[1]["hook"] == hook


def test_heads_are_read_flat(tmp_path):
    folder, about, tensors = folder_of(tmp_path, "gated", reshape_activations="hook_z")
    h = foreign.activations()
    same(outputs(load_any(folder)[0], h), foreign_kinds.lens_outputs(about, tensors, h))
    (folder / "cfg.json").write_text(json.dumps({**about, "reshape_activations": "hook_q"}))
    with pytest.raises(InvalidFile, match="hook_q"):
        load_any(folder)


@pytest.mark.parametrize(
    ("kind", "change", "match"),
    [
        ("gated", lambda a, t: t.pop("r_mag"), "no tensor r_mag"),
        ("gated", lambda a, t: t.update(b_enc=t["b_mag"].clone()), "not understood: b_enc"),
        ("gated", lambda a, t: t["b_gate"].fill_(torch.nan), "NaN or infinity in b_gate"),
        ("gated", lambda a, t: t.update(r_mag=t["r_mag"].long()), r"r_mag as torch\.int64"),
        ("jumprelu", lambda a, t: t.update(threshold=torch.ones(())), "threshold of shape"),
        ("jumprelu", lambda a, t: t["threshold"].fill_(torch.inf), "NaN or infinity in threshold"),
        ("jumprelu", lambda a, t: a.update(architecture="jumprelu_transcoder"), "load_any_transcoder"),
        ("topk", lambda a, t: a.update(architecture="skip_transcoder"), "sae_bridge.transcoders"),
        ("topk", lambda a, t: a.update(architecture="temporal"), "'temporal'; those that can be read: topk"),
        ("topk", lambda a, t: a.update(architecture=["topk"]), "those that can be read"),
        ("topk", lambda a, t: a.update(normalize_activations="max"), "'max'; those that can be read"),
        ("topk", lambda a, t: a.update(normalize_activations=3), "normalize_activations"),
    ],
)
def test_folders_that_are_refused(tmp_path, kind, change, match):
    _, about, tensors = folder_of(tmp_path, kind)
    change(about, tensors)
    with pytest.raises(InvalidFile, match=match):
        load_any(foreign.write(tmp_path / "y", about, tensors))


@pytest.mark.parametrize("activation", ["jumprelu", "gated"])
def test_other_formats_refuse_what_they_lack(tmp_path, activation):
    sae = foreign_kinds.our_kind(activation)
    with pytest.raises(InvalidArgument, match=activation):
        export_sparsify(sae, tmp_path, FIELDS)
    with pytest.raises(InvalidArgument, match=activation):
        export_native(sae, tmp_path / "x", FIELDS)
    assert not list(tmp_path.iterdir())


def test_thresholds_that_overflow_are_not_written(tmp_path):
    sae = foreign_kinds.our_kind("jumprelu")
    with torch.no_grad():
        sae.log_threshold[3] = 1e4
    with pytest.raises(InvalidArgument, match="thresholds"):
        export_saelens(sae, tmp_path / "x")


@pytest.mark.parametrize("activation", ["jumprelu", "gated", "batch_topk"])
def test_commands_there_and_back(tmp_path, activation):
    from sae_bridge.commands.files.export import Export
    from sae_bridge.commands.files.import_ import Import

    sae, h = foreign_kinds.our_kind(activation), foreign.activations()
    sae.save(tmp_path / "sae", FIELDS)
    codes, h_hat = foreign.outputs(sae, h)
    for form in ("saelens", "dictionary-learning"):
        Export(tmp_path / "sae", tmp_path / form, form).run()
        Import(tmp_path / form, tmp_path / f"{form} back", k=K).run()
        same(foreign.outputs(load_sae(tmp_path / f"{form} back")[0], h), (codes / sae.scale, h_hat))


def test_import_says_why_not(tmp_path):
    from sae_bridge.commands.files.import_ import Import

    for i, (kind, how, match) in enumerate(
        [
            ("gated", {}, "no k is known"),
            ("standard", {}, "not positive, as ReLU"),
            ("gated", {"unit": False}, "not unit"),
            ("topk", {"normalize_activations": "layer_norm"}, "normalises each token"),
        ]
    ):
        folder, _, _ = folder_of(tmp_path / str(i), kind, **how)
        with pytest.raises(InvalidFile, match=match):
            Import(folder, tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


def test_negative_thresholds_mean_zero_as_there(tmp_path):
    _, about, tensors = folder_of(tmp_path, "jumprelu")
    tensors["threshold"] -= 4
    h = foreign.activations()
    sae, _ = import_saelens(foreign.write(tmp_path / "y", about, tensors), k=4)
    same(outputs(sae, h), foreign_kinds.lens_outputs(about, tensors, h))
    assert isinstance(sae, ImportedSAE)
