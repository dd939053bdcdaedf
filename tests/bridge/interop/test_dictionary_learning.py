"""Folders of dictionary_learning, both ways and without it: meanings, pickles that ask for more, damage."""

import io
import json
import os
import pickle

import pytest
import torch
from support import foreign, foreign_kinds
from support.foreign import FIELDS, K, M, N
from support.foreign_kinds import GROUPS

from expander_theory import InvalidArgument, InvalidFile
from sae_bridge.interop import ImportedSAE, export_dictionary_learning, import_dictionary_learning, load_any
from sae_bridge.sae import TopKSAE, load_sae

CLOSE = {"atol": 1e-10, "rtol": 1e-10}
KINDS = [
    *("AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"),
    *("JumpReluAutoEncoder", "GatedAutoEncoder"),
]


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    assert expected[0].count_nonzero() > 0
    assert (expected[0] == 0).sum() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", [True, False], ids=["unit", "any norm"])
def test_every_class_means_here_what_it_means_there(tmp_path, kind, unit):
    state, h = foreign_kinds.learned_state(kind, unit=unit), foreign.activations()
    about = foreign_kinds.learned_configuration(kind)
    folder = foreign_kinds.write_learned(tmp_path / "x", about, state)
    sae, fields = load_any(folder)
    same(foreign.outputs(sae, h), foreign_kinds.learned_outputs(kind, state, h))
    groups = {"groups": list(GROUPS)} if "Matryoshka" in kind else {}
    assert fields == {"language_model": "org/model", "layer": 5, "hook": "resid_post", "context": 64, **groups}
    assert isinstance(sae, TopKSAE) == (unit and "TopK" in kind)
    if "TopK" in kind:
        assert sae.k == K
    elif kind != "GatedAutoEncoder" or not unit:
        with pytest.raises(InvalidArgument, match="k = None"):
            _ = sae.k
    with_k, _ = load_any(folder, k=4)
    assert with_k.k == (K if kind == "AutoEncoderTopK" else 4)
    assert isinstance(with_k, TopKSAE) == (unit and kind not in ("AutoEncoder", "AutoEncoderNew"))
    same(foreign.outputs(with_k, h), foreign_kinds.learned_outputs(kind, state, h))


@pytest.mark.parametrize(
    ("activation", "groups", "kind"),
    [
        ("topk", None, "AutoEncoderTopK"),
        ("batch_topk", None, "BatchTopKSAE"),
        ("batch_topk", GROUPS, "MatryoshkaBatchTopKSAE"),
        ("jumprelu", None, "JumpReluAutoEncoder"),
        ("gated", None, "GatedAutoEncoder"),
    ],
)
@pytest.mark.parametrize("decoder", ["mask", "dense", "block"])
def test_ours_written_for_it(tmp_path, activation, groups, kind, decoder):
    sae, h = foreign_kinds.our_kind(activation, decoder, groups=groups), foreign.activations()
    export_dictionary_learning(sae, tmp_path / "x", FIELDS)
    about = json.loads((tmp_path / "x" / "config.json").read_text())
    assert about["trainer"]["dict_class"] == kind
    state = torch.load(tmp_path / "x" / "ae.pt", weights_only=True)
    expected_names = set(foreign_kinds.learned_state(kind))
    assert set(state) == expected_names
    codes, h_hat = foreign.outputs(sae, h)
    same(foreign_kinds.learned_outputs(kind, state, h), (codes / sae.scale, h_hat))
    back, fields = load_any(tmp_path / "x", k=K)
    same(foreign.outputs(back, h), (codes / sae.scale, h_hat))
    assert isinstance(back, TopKSAE)
    assert fields.pop("groups", None) == (None if groups is None else list(groups))
    assert fields == {key: FIELDS[key] for key in ("language_model", "layer", "hook", "context")}


def test_signed_codes_are_not_written(tmp_path):
    with pytest.raises(InvalidArgument, match="magnitude"):
        export_dictionary_learning(foreign.ours(selection="magnitude"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("trainer", "buffer", "fields"),
    [
        ({"submodule_name": None}, {"ctx_len": 32}, {"language_model": "org/model", "layer": 5, "context": 32}),
        (
            {"submodule_name": "gpt_neox.layers.5"},
            {},
            {"language_model": "org/model", "layer": 5, "hook": "resid_post"},
        ),
        ({}, {"io": "in"}, {"language_model": "org/model", "layer": 5}),
        ({"lm_name": None, "layer": True}, {}, {"layer": 5, "hook": "resid_post"}),
    ],
)
def test_fields_say_what_the_configuration_tells(tmp_path, trainer, buffer, fields):
    about = foreign_kinds.learned_configuration("AutoEncoderTopK", **trainer)
    about["buffer"] = buffer
    state = foreign_kinds.learned_state("AutoEncoderTopK")
    assert load_any(foreign_kinds.write_learned(tmp_path / "x", about, state))[1] == fields


def test_trainers_of_early_releases_name_no_sizes(tmp_path):
    for kind in ("AutoEncoder", "JumpReluAutoEncoder"):
        about, state = foreign_kinds.learned_configuration(kind), foreign_kinds.learned_state(kind)
        del about["trainer"]["activation_dim"], about["trainer"]["dict_size"]
        sae, _ = load_any(foreign_kinds.write_learned(tmp_path / kind, about, state))
        assert (sae.m, sae.n) == (M, N)


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["zip", "plain pickle", "inside a state"])
def test_no_pickle_runs(tmp_path, how):
    about, state = foreign_kinds.learned_configuration("AutoEncoder"), foreign_kinds.learned_state("AutoEncoder")
    folder, ran = foreign_kinds.write_learned(tmp_path / "x", about, state), tmp_path / "ran"
    if how == "plain pickle":
        (folder / "ae.pt").write_bytes(pickle.dumps(Attack(ran)))
    else:
        torch.save(Attack(ran) if how == "zip" else {**state, "extra": Attack(ran)}, folder / "ae.pt")
    with pytest.raises(InvalidFile, match=r"ae\.pt.*tensors alone"):
        load_any(folder)
    assert not ran.exists()


def damaged(content):
    half = content[: len(content) // 2]
    return {"truncated": half, "empty": b"", "text": b"not a pickle", "almost": content[:-30], "pickled int": b"I1\n."}


@pytest.mark.parametrize("how", ["truncated", "empty", "text", "almost", "pickled int"])
def test_damaged_pickles_are_named(tmp_path, how):
    about, state = foreign_kinds.learned_configuration("AutoEncoder"), foreign_kinds.learned_state("AutoEncoder")
    folder = foreign_kinds.write_learned(tmp_path / "x", about, state)
    (folder / "ae.pt").write_bytes(damaged((folder / "ae.pt").read_bytes())[how])
    with pytest.raises(InvalidFile, match=r"ae\.pt"):
        load_any(folder)


def test_values_that_repeat_their_storage_are_refused(tmp_path):
    """A few bytes that stand for a matrix of any size."""
    about, state = foreign_kinds.learned_configuration("AutoEncoder"), foreign_kinds.learned_state("AutoEncoder")
    state["encoder.weight"] = torch.zeros(1, dtype=torch.float64).expand(N, M)
    folder = foreign_kinds.write_learned(tmp_path / "x", about, state)
    with pytest.raises(InvalidFile, match=r"fewer values of encoder\.weight"):
        load_any(folder)


@pytest.mark.parametrize(
    ("kind", "change", "match"),
    [
        ("AutoEncoder", lambda a, s: a.pop("trainer"), "no trainer"),
        ("AutoEncoder", lambda a, s: a["trainer"].update(dict_class="IdentityDict"), "'IdentityDict'; those that can"),
        ("AutoEncoder", lambda a, s: a["trainer"].update(dict_class=["AutoEncoder"]), "those that can"),
        ("AutoEncoder", lambda a, s: a["trainer"].update(dict_size=N + 1), r"encoder\.weight of shape \(50, 20\)"),
        ("AutoEncoder", lambda a, s: a["trainer"].update(activation_dim="20"), "activation_dim = '20'"),
        ("AutoEncoder", lambda a, s: s.pop("bias"), "no tensor bias"),
        ("AutoEncoder", lambda a, s: s.update(more=torch.zeros(2)), "not understood: more"),
        ("AutoEncoder", lambda a, s: s["decoder.weight"][:, 3].zero_(), "zero decoder column"),
        ("AutoEncoder", lambda a, s: s["encoder.bias"].fill_(torch.nan), "NaN or infinity"),
        ("AutoEncoder", lambda a, s: s.update(bias=s["bias"].long()), r"bias as torch\.int64"),
        ("AutoEncoder", lambda a, s: s.update(bias=s["bias"].to_sparse()), "expected a dense one"),
        ("AutoEncoder", lambda a, s: s.update(bias=[1.0]), "'bias', a list"),
        ("AutoEncoder", lambda a, s: s.update({"ae": {}, "optimizer": {}, "step": 7}), "unfinished run .step 7"),
        ("AutoEncoder", lambda a, s: a["buffer"].update(io="in_and_out"), "transcoder"),
        ("AutoEncoder", lambda a, s: a["trainer"].update(layer=4), "another layer"),
        ("AutoEncoderTopK", lambda a, s: a["trainer"].update(k=K + 1), "k = 7, and ae.pt holds k = 6"),
        ("AutoEncoderTopK", lambda a, s: s.update(k=torch.tensor(0)), "k = 0"),
        ("AutoEncoderTopK", lambda a, s: (s.update(k=torch.tensor(60)), a["trainer"].update(k=60)), "k = 60, more"),
        ("AutoEncoderTopK", lambda a, s: s.update(k=torch.tensor(6.0)), r"k as torch\.float32"),
        ("AutoEncoderTopK", lambda a, s: (s.pop("k"), a["trainer"].pop("k")), "k = None"),
        ("BatchTopKSAE", lambda a, s: s.update(threshold=torch.tensor(-1.0)), "holds the threshold -1"),
        ("BatchTopKSAE", lambda a, s: s.update(threshold=torch.ones(N)), "threshold of shape"),
        ("BatchTopKSAE", lambda a, s: s.update(threshold=torch.tensor(torch.inf)), "NaN or infinity in threshold"),
        ("MatryoshkaBatchTopKSAE", lambda a, s: s["group_sizes"].add_(1), "add to 53"),
        ("MatryoshkaBatchTopKSAE", lambda a, s: s.pop("group_sizes"), "no group_sizes"),
        ("JumpReluAutoEncoder", lambda a, s: s.update(threshold=torch.tensor(1.0)), "threshold of shape"),
        ("GatedAutoEncoder", lambda a, s: s.pop("r_mag"), "no tensor r_mag"),
    ],
)
def test_folders_that_are_refused(tmp_path, kind, change, match):
    about, state = foreign_kinds.learned_configuration(kind), foreign_kinds.learned_state(kind)
    change(about, state)
    with pytest.raises(InvalidFile, match=match):
        load_any(foreign_kinds.write_learned(tmp_path / "x", about, state))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InvalidFile, match=r"config\.json is missing"):
        import_dictionary_learning(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(foreign_kinds.learned_configuration("AutoEncoder")))
    with pytest.raises(InvalidFile, match=r"ae\.pt.*no such file"):
        import_dictionary_learning(tmp_path)
    (tmp_path / "ae.pt").write_bytes(b"")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InvalidFile, match="damaged"):
        load_any(tmp_path)


def test_16_bit_values_are_read_as_float32(tmp_path):
    about = foreign_kinds.learned_configuration("GatedAutoEncoder")
    state = foreign_kinds.learned_state("GatedAutoEncoder", unit=False, dtype=torch.bfloat16)
    sae, _ = load_any(foreign_kinds.write_learned(tmp_path / "x", about, state))
    assert isinstance(sae, ImportedSAE)
    assert sae.weight.dtype == torch.float32
    assert torch.equal(sae.r_mag.bfloat16(), state["r_mag"])


def test_the_old_file_format_of_pytorch_is_read(tmp_path):
    about, state = foreign_kinds.learned_configuration("AutoEncoder"), foreign_kinds.learned_state("AutoEncoder")
    folder, h = foreign_kinds.write_learned(tmp_path / "x", about, state), foreign.activations()
    content = io.BytesIO()
    torch.save(state, content, _use_new_zipfile_serialization=False)
    (folder / "ae.pt").write_bytes(content.getvalue())
    same(foreign.outputs(load_any(folder)[0], h), foreign_kinds.learned_outputs("AutoEncoder", state, h))


@pytest.mark.parametrize(
    "kind", ["AutoEncoderTopK", "MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder", "GatedAutoEncoder"]
)
def test_import_makes_a_folder_of_ours(tmp_path, kind, capsys):
    from sae_bridge.commands.files.import_ import Import

    state, h = foreign_kinds.learned_state(kind), foreign.activations()
    folder = foreign_kinds.write_learned(tmp_path / "x", foreign_kinds.learned_configuration(kind), state)
    Import(folder, tmp_path / "out", k=None if "TopK" in kind else 4).run()
    assert "TopKSAE" in capsys.readouterr().out
    back, fields = load_sae(tmp_path / "out")
    same(foreign.outputs(back, h), foreign_kinds.learned_outputs(kind, state, h))
    assert (fields["layer"], fields["hook"]) == (5, "resid_post")
