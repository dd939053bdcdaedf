"""SAEs in repositories: names, downloads, uploads, cards, against a server on the loopback; no network."""

import json

import pytest
import torch
from support.hub_server import TOKEN, HubServer

from expander_theory import InvalidArgument, InvalidFile, uniform_mask
from expander_theory.base import MissingResource
from sae_bridge.commands.files.push import Push
from sae_bridge.hub import RepositoryName, is_repository_name, located, read_evaluation, verdict
from sae_bridge.interop import export_saelens, load_any
from sae_bridge.packing import Packing
from sae_bridge.sae import ExpanderSAE, load_sae, pack_sae

FIELDS = {"layer": 3, "hook": "resid_post", "language_model": "some/model", "note": "a | b"}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    from huggingface_hub import constants

    server = HubServer()
    template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.close()


@pytest.fixture
def sae():
    return ExpanderSAE(uniform_mask(24, 40, 3, seed=0), 4, encoder="omp", seed=1).eval()


@pytest.fixture
def folder(sae, tmp_path):
    sae.save(tmp_path / "sae", FIELDS)
    return tmp_path / "sae"


def states_equal(a, b):
    mine, other = a.state_dict(), b.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[key], other[key]) for key in mine)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("hf:me/x", ("me/x", None, None)),
        ("hf:me/x@v1.2", ("me/x", "v1.2", None)),
        ("hf:me/x@refs/pr/3:layers/5", ("me/x", "refs/pr/3", "layers/5")),
        ("hf:me/x:a.safetensors", ("me/x", None, "a.safetensors")),
    ],
)
def test_names_of_repositories(name, parts):
    found = RepositoryName.parsed(name)
    assert (found.repo, found.revision, found.path) == parts
    assert str(found) == name
    assert is_repository_name(name)


@pytest.mark.parametrize("name", ["hf:", "hf:me", "hf:me/x@", "hf:me/x:", "hf:me/x:../secret", "hf:a/b/c", "hf:me/x y"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(InvalidArgument, match="hf:owner/repo"):
        located(name)


def test_a_path_of_this_machine_stays(tmp_path):
    assert located(tmp_path / "a") == tmp_path / "a"
    assert not is_repository_name(tmp_path)


def test_a_folder_is_pushed_and_loaded_by_name(hub, folder, sae, capsys):
    Push(sae=folder, repo="me/x", private=True).run()
    assert "3 files" in capsys.readouterr().out
    assert hub.private == {"me/x"}
    assert hub.commits == [("Upload sae with expander-theory", ["README.md", "cfg.json", "sae_weights.safetensors"])]
    for name in ("hf:me/x", "hf:me/x@main", f"hf:me/x@{hub.sha('me/x')}"):
        loaded, fields = load_sae(name)
        assert states_equal(loaded, sae)
        assert fields == FIELDS
    assert states_equal(load_any("hf:me/x")[0], sae)


def test_a_packed_file_is_pushed_beside_it(hub, folder, sae, tmp_path):
    Push(sae=folder, repo="me/x").run()
    packed = tmp_path / "small.safetensors"
    pack_sae(sae, packed, FIELDS, Packing("int4"))
    Push(sae=packed, repo="me/x", path="small").run()
    assert sorted(hub.repos["me/x"]) == [
        *("README.md", "cfg.json", "sae_weights.safetensors", "small/README.md", "small/small.safetensors"),
    ]
    for name in ("hf:me/x:small", "hf:me/x:small/small.safetensors"):
        assert states_equal(load_any(name)[0], load_sae(packed)[0])
    assert "int4" in hub.repos["me/x"]["small/README.md"].decode()


def test_others_folders_are_loaded_by_name(hub, sae, tmp_path):
    one_step = ExpanderSAE(sae.mask, 4).eval()
    export_saelens(one_step, tmp_path / "lens", FIELDS)
    hub.repos["you/lens"] = {f"layer3/{file.name}": file.read_bytes() for file in (tmp_path / "lens").iterdir()}
    h = torch.randn(5, 24)
    ours, theirs = load_any(tmp_path / "lens")[0], load_any("hf:you/lens:layer3")[0]
    assert torch.equal(ours.decode(*ours.encode(h)), theirs.decode(*theirs.encode(h)))


def test_without_a_network_the_cache_serves(hub, folder, sae, monkeypatch):
    from huggingface_hub import constants

    Push(sae=folder, repo="me/x").run()
    load_sae("hf:me/x")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert states_equal(load_sae("hf:me/x")[0], sae)
    with pytest.raises(MissingResource, match=r"hf:me/y.*cannot be reached and is not in the cache"):
        load_sae("hf:me/y")


def test_errors_name_what_is_wrong(hub, folder, monkeypatch):
    Push(sae=folder, repo="me/x", private=True).run()
    with pytest.raises(InvalidFile, match=r"hf:me/none.*no such repository"):
        load_sae("hf:me/none")
    with pytest.raises(InvalidFile, match="no such revision"):
        load_sae("hf:me/x@v9")
    with pytest.raises(InvalidFile, match="no such file or folder"):
        load_sae("hf:me/x:layers/5")
    hub.repos["me/two"] = {"a.safetensors": b"", "b.safetensors": b"", "README.md": b""}
    with pytest.raises(InvalidFile, match=r"several SAEs.*a\.safetensors, b\.safetensors"):
        load_sae("hf:me/two")
    hub.repos["me/other"] = {"README.md": b"", "deep/model.safetensors": b"x"}
    with pytest.raises(InvalidFile, match=r"no SAE there.*deep/model\.safetensors"):
        load_sae("hf:me/other")
    with pytest.raises(InvalidFile, match="truncated or not"):
        load_sae("hf:me/other:deep/model.safetensors")
    hub.refusal = 403
    with pytest.raises(InvalidFile, match="refuses"):
        Push(sae=folder, repo="me/x").run()
    hub.refusal = None
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InvalidFile, match=r"hf:me/x.*no such repository, or a private one"):
        load_sae("hf:me/x")
    with pytest.raises(InvalidFile, match=r"refuses \(401\)"):
        Push(sae=folder, repo="me/x").run()
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(MissingResource, match=r"no token.*hf auth login"):
        Push(sae=folder, repo="me/x").run()
    with pytest.raises(InvalidArgument, match="must lie on this machine"):
        Push(sae="hf:me/x", repo="me/x").run()


def evaluation_file(path, sae_name, delta, nulls, **changed):
    base = {"m": 24, "n": 40, "d": 3, "k": 4, "fvu": 0.3, "fvu_interval": [0.29, 0.31], "l0": 4.0, "documents": 20}
    base |= {"tokens": 1000, "recovered_zero": 0.9, "recovered_zero_interval": [0.88, 0.92], **changed}

    def row(name, architecture, value):
        interval = [value - 0.1, value + 0.1]
        return {**base, "name": name, "architecture": architecture, "delta": value, "delta_interval": interval}

    rows = [row(sae_name, "expander", delta), *(row(name, "null", value) for name, value in nulls.items())]
    path.write_text(json.dumps(rows))
    return path


def test_the_card_says_what_it_is_worth(hub, folder, tmp_path, capsys):
    nulls = {"coordinate null, k = 4": 1.0, "untrained": 0.55, "oracle": 0.1}
    given = evaluation_file(tmp_path / "eval.json", str(folder), 0.5, nulls)
    push = Push(sae=folder, repo="me/x", evaluation=given, license="mit", card=tmp_path / "card.md", dry_run=True)
    push.run()
    assert hub.repos == {}  # nothing is sent
    shown, card = capsys.readouterr().out, (tmp_path / "card.md").read_text()
    assert "cfg.json:" in shown
    assert card in shown
    front = card.split("---")[1]
    for line in ("library_name: expander-theory", "- sparse-autoencoder", 'base_model: "some/model"', 'license: "mit"'):
        assert line in front.splitlines()
    assert "| **this SAE** | 0.300 [0.290, 0.310] | 4.0 | 0.900 [0.880, 0.920] | 0.500 [0.400, 0.600] |" in card
    assert "it beats coordinate null, k = 4; it is not told apart from untrained; it is worse than oracle" in card
    assert 'load_sae("hf:me/x")' in card
    assert f"| `cfg.json` | {(folder / 'cfg.json').stat().st_size:,} |" in card
    assert r"| note | a \| b |" in card
    with pytest.raises(InvalidFile, match="exists already"):
        push.run()


def test_an_evaluation_of_another_sae_is_refused(sae, tmp_path):
    about = sae.stored()[0]
    given = evaluation_file(tmp_path / "a.json", "mine", 0.5, {}, n=41)
    with pytest.raises(InvalidFile, match="another SAE: n is 41 there and 40 here"):
        read_evaluation(given, "mine", about, None)
    given = evaluation_file(tmp_path / "b.json", "mine", 0.5, {})
    alone = read_evaluation(given, "any name", about, None)  # the only one
    assert alone.nulls == ()
    assert "nothing follows" in verdict(alone)
    given.write_text(json.dumps([*json.loads(given.read_text()) * 2]))
    with pytest.raises(InvalidFile, match="no evaluation of other"):
        read_evaluation(given, "other", about, None)
    given.write_text('[{"name": 3}]')
    with pytest.raises(InvalidFile):
        read_evaluation(given, "mine", about, None)


def test_a_table_of_packings_is_searched_by_format(sae, tmp_path):
    given = evaluation_file(tmp_path / "a.json", "mine", 0.5, {"coordinate null": 1.0})
    own, null = json.loads(given.read_text())
    rows = [{**own, "values": None}, {**own, "values": "int4", "fvu": 0.4}, {**null, "values": None}]
    given.write_text(json.dumps(rows))
    about = sae.stored()[0]
    assert read_evaluation(given, "x", about, "int4").own["fvu"] == 0.4
    assert read_evaluation(given, "x", about, None).own["fvu"] == 0.3
    with pytest.raises(InvalidFile, match="in int2"):
        read_evaluation(given, "x", about, "int2")
