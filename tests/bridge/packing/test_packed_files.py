"""Packed SAEs of every kind: what is read back, sizes as claimed, the same bytes again, damaged files, the command."""

import json
import struct

import pytest
import torch

from expander_theory import InvalidArgument, InvalidFile, Mask, uniform_mask
from expander_theory.results import read_arrays, write_arrays
from sae_bridge.commands.evaluate import Evaluate
from sae_bridge.commands.files.pack import Pack
from sae_bridge.interop import load_any
from sae_bridge.packing import HEADER_BYTES, PACKED_KIND, VALUES, Packing, is_packed, read_packed
from sae_bridge.sae import BlockSAE, ExpanderSAE, TopKSAE, load_sae, pack_sae, packed_storage

M, N, D, K = 32, 60, 4, 5
MASK = uniform_mask(M, N, D, seed=0)
LEARNED = Mask(M, uniform_mask(M, N, D, seed=9).rows, "learned")
FIELDS = {"layer": 1, "hook": "resid_post", "steps": 3, "finetuned": {"weight": 0.5}}

KINDS = {
    "topk": lambda: ExpanderSAE(MASK, K),
    "untied": lambda: ExpanderSAE(MASK, K, encoder="random"),
    "omp": lambda: ExpanderSAE(MASK, K, encoder="omp"),
    "learned": lambda: ExpanderSAE(LEARNED, K, encoder="omp_nonnegative"),
    "batch": lambda: ExpanderSAE(MASK, K, activation="batch_topk"),
    "jumprelu": lambda: ExpanderSAE(MASK, K, activation="jumprelu", encoder="warm"),
    "gated": lambda: TopKSAE(M, N, K, activation="gated"),
    "matryoshka": lambda: ExpanderSAE(MASK, K, groups=(10, 30, N)),
    "steps": lambda: ExpanderSAE(MASK, 4, pursuit_steps=2),
    "block": lambda: BlockSAE(uniform_mask(M, N - 7, D, seed=0), 7, K),
    "dense": lambda: TopKSAE(M, N, K, encoder="warm"),
}


def made(kind):
    """With every parameter moved from where it starts."""
    sae = KINDS[kind]()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in sae.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        sae.scale.fill_(0.37)
        sae.threshold.fill_(0.11 if sae.activation == "batch_topk" else 0)
        sae.normalise_columns()
    return sae.eval()


def header_bytes(path):
    return struct.unpack("<Q", path.read_bytes()[:8])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_back(kind, tmp_path):
    sae = made(kind)
    h = torch.randn(64, M, generator=torch.Generator().manual_seed(0)) * 2
    for values in VALUES:
        for supports in ("auto", "listed"):
            packing, path = Packing(values, "bfloat16", supports), tmp_path / f"{values}-{supports}"
            pack_sae(sae, path, FIELDS, packing)
            loaded, fields = load_sae(path)
            assert fields == FIELDS
            assert loaded.stored()[0] == sae.stored()[0]
            assert loaded.mask == sae.mask
            assert loaded.encode(h)[0].shape[0] == 64
            assert not loaded.training
            pack_sae(loaded, tmp_path / "again", fields, packing)
            assert (tmp_path / "again").read_bytes() == path.read_bytes()
            header = header_bytes(path)
            assert header <= HEADER_BYTES
            assert path.stat().st_size - header - 8 == packed_storage(sae, packing)
            drawn = supports == "auto" and kind != "learned"
            assert read_packed(path).packing == Packing(
                values, "bfloat16", "auto" if drawn or kind in _DENSE else "listed"
            )


_DENSE = ("gated", "dense")


@pytest.mark.parametrize("kind", KINDS)
def test_float32_changes_nothing(kind, tmp_path):
    sae = made(kind)
    pack_sae(sae, tmp_path / "x", {}, Packing("float32", "float32"))
    loaded = load_any(tmp_path / "x")[0]
    mine, other = sae.state_dict(), loaded.state_dict()
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.mark.parametrize(("values", "error"), [("bfloat16", 0.005), ("int8", 0.01), ("int4", 0.1)])
def test_reconstructions_stay_near(values, error, tmp_path):
    sae = made("omp")
    h = torch.randn(200, M, generator=torch.Generator().manual_seed(0)) * 2
    pack_sae(sae, tmp_path / "x", {}, Packing(values))
    codes = sae.encode(h)  # of its own: a pursuit on other values may choose others
    before, after = sae.decode(*codes), load_sae(tmp_path / "x")[0].decode(*codes)
    relative = torch.linalg.vector_norm(after - before) / torch.linalg.vector_norm(before)
    assert 0 < relative < error


def test_what_is_zero_or_drawn_again_takes_no_bytes(tmp_path):
    """A pursuit on a uniform mask in 4 bits: n d / 2 bytes of values, 2 m of b_dec, nothing else."""
    sae = made("omp")
    pack_sae(sae, tmp_path / "x", {}, Packing("int4"))
    assert packed_storage(sae, Packing("int4")) == N * D / 2 + 2 * M
    assert set(read_arrays(tmp_path / "x", PACKED_KIND, 1)[1]) == {"weight", "b_dec"}
    pack_sae(made("learned"), tmp_path / "y", {}, Packing("int4"))
    ranks = -(-N * 16 // 8)  # C(32, 4) = 35,960 takes 16 bits
    assert packed_storage(made("learned"), Packing("int4")) == N * D / 2 + 2 * M + ranks


def test_sixteen_and_sixty_four_bits_are_packed(tmp_path):
    sae = made("topk")
    pack_sae(sae, tmp_path / "a", {}, Packing("int8"))
    pack_sae(made("topk").double(), tmp_path / "b", {}, Packing("int8"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert load_sae(tmp_path / "b")[0].weight.dtype == torch.float32


def test_fields_without_room_are_refused(tmp_path):
    with pytest.raises(InvalidArgument, match="must fit into 3072 bytes"):
        pack_sae(made("topk"), tmp_path / "x", {"note": "a" * 3000})
    assert not (tmp_path / "x").exists()


def test_truncated_and_altered_files_are_refused(tmp_path):
    path = tmp_path / "x"
    pack_sae(made("learned"), path, FIELDS, Packing("int4"))
    whole = path.read_bytes()
    assert is_packed(path)
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidFile):
            load_sae(path)
    for at in range(8, len(whole), 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(InvalidFile):
            load_sae(path)
    with pytest.raises(InvalidFile, match="holds no SAE"):
        load_sae(tmp_path / "none")
    made("topk").save(tmp_path / "folder", {})
    with pytest.raises(InvalidFile, match="expected 'expander-sae-packed'"):
        load_sae(tmp_path / "folder" / "sae_weights.safetensors")


def forged(tmp_path, kind, change, packing=None):
    """A file with a hash that fits what ``change`` made of its fields and arrays."""
    pack_sae(made(kind), tmp_path / "x", FIELDS, packing or Packing("int4"))
    fields, arrays = read_arrays(tmp_path / "x", PACKED_KIND, 1)
    change(fields, arrays)
    write_arrays(tmp_path / "x", PACKED_KIND, 1, fields, arrays)
    return tmp_path / "x"


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("topk", lambda f, a: f.update(values="int5"), "values"),
        ("topk", lambda f, a: a.pop("weight"), "lacks weight"),
        ("topk", lambda f, a: a.update(more=a["b_dec"]), "also holds more"),
        ("topk", lambda f, a: a.update(b_dec=a["b_dec"][:-1]), "b_dec of uint16"),
        ("topk", lambda f, a: f["shapes"].update(weight=[N, D - 1]), "values of uint8"),
        ("topk", lambda f, a: f["shapes"].update(b_enc=[2**40]), "b_enc of shape"),
        ("topk", lambda f, a: f["mask"].update(n=N + 1), "beside weight of shape"),
        ("topk", lambda f, a: f["mask"].update(recipe=f["mask"]["recipe"].replace("seed=0", "seed=1")), "another mask"),
        ("topk", lambda f, a: f["mask"].update(recipe="forgotten"), "another mask"),
        ("learned", lambda f, a: f["mask"].update(sha256="0" * 64), "altered: its supports"),
        ("learned", lambda f, a: a.update(rows=a["rows"] * 0 + 255), "a rank that no 4-subset"),
        ("untied", lambda f, a: a.pop("encoder.norms"), "norms of"),
        ("learned", lambda f, a: a.update(rows=a["rows"].view("int8")), "bytes of supports"),
        ("topk", lambda f, a: f.pop("mask"), "does not fit a decoder that is expander"),
        ("topk", lambda f, a: f["numbers"].update(scale=-1.0), "must be positive"),
        ("topk", lambda f, a: f["numbers"].pop("scale"), "lacks or adds scale"),
        ("topk", lambda f, a: f["zeros"].append(a.pop("weight") is None or "weight"), "no unit vector"),
        ("topk", lambda f, a: f["sae"].update(k=N + 1), f"k = {N + 1}"),
        ("topk", lambda f, a: f["sae"].update(architecture="block"), "dense_columns"),
        ("topk", lambda f, a: f["sae"].update(activation="other"), "activation"),
        ("gated", lambda f, a: f["sae"].update(activation="jumprelu"), "lacks or adds"),
        ("topk", lambda f, a: a.update(b_dec=a["b_dec"] * 0 + 0x7FC0), "NaN or infinity in b_dec"),
    ],
)
def test_forged_files_are_refused(kind, change, says, tmp_path):
    with pytest.raises(InvalidFile, match=says):
        load_sae(forged(tmp_path, kind, change))


def test_the_command_packs_and_every_command_reads(tmp_path, tiny_store, capsys):
    model, store = tiny_store
    sae = ExpanderSAE(uniform_mask(store.m, 64, 4, seed=0), 4, encoder="omp", seed=1).eval()
    sae.fit_normalisation(torch.zeros(store.m), 40.0)
    about = {key: store.description[key] for key in ("layer", "hook", "model_fingerprint")}
    sae.save(tmp_path / "sae", {**about, "activations_sha256": store.sha256})
    out, table = tmp_path / "small.safetensors", tmp_path / "table.json"
    how = {"activations": store.folder, "model": model.name, "table": table}
    pack = Pack(sae=tmp_path / "sae", out=out, values="int4", **how)
    pack.run()
    shown = capsys.readouterr().out
    assert f"{out.stat().st_size:,} bytes, {packed_storage(sae, Packing('int4')):,} of them arrays" in shown
    rows = json.loads(table.read_text())
    assert [row.get("values") for row in rows] == [None, *VALUES, None]
    assert rows[VALUES.index("int4") + 1]["file_bytes"] == out.stat().st_size
    assert rows[-1]["architecture"] == "null"
    own, exact = rows[0], rows[1]
    assert exact["fvu"] == pytest.approx(own["fvu"], rel=1e-3)  # b_dec alone is rounded
    for row in rows[1:-1]:
        assert row["change"] == pytest.approx(row["ce"] - own["ce"], abs=1e-9)
        assert row["change_interval"][0] <= row["change"] <= row["change_interval"][1]
    assert "coordinate null, k = 4" in shown
    with pytest.raises(InvalidFile, match="exists already"):
        pack.run()
    with pytest.raises(InvalidArgument, match="table"):
        Pack(sae=tmp_path / "sae", out=tmp_path / "y", table=tmp_path / "t").run()
    Evaluate(activations=store.folder, saes=(out,), model=model.name, nulls="none", out=tmp_path / "eval.json").run()
    measured = json.loads((tmp_path / "eval.json").read_text())[0]
    assert measured["fvu"] == pytest.approx(rows[VALUES.index("int4") + 1]["fvu"], abs=1e-12)
