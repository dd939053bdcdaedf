"""SAEs by name of a repository: ``hf:owner/repo[@revision][:path]``, downloaded by huggingface_hub as it is set up."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from expander_theory.base import InvalidArgument, InvalidFile, MissingResource
from sae_bridge.hub._errors import named_errors

PREFIX = "hf:"
_NAME = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^:@]+))?(?::(?P<path>[^:]+))?")
_FOLDER_OF = ("cfg.json", "config.json")  # configurations: ours, SAELens's and sparsify's; dictionary_learning's


@dataclass(frozen=True)
class RepositoryName:
    """Where an SAE lies in a repository.

    Attributes:
        repo: owner/name.
        revision: branch, tag or commit; None for the main branch.
        path: of a folder or a packed file in it; None for the only SAE at its top.
    """

    repo: str
    revision: str | None
    path: str | None

    @classmethod
    def parsed(cls, name: str) -> RepositoryName:
        """Raises InvalidArgument where the name is not one."""
        found = _NAME.fullmatch(name)
        path = None if found is None or found["path"] is None else found["path"].strip("/")
        if found is None or path == "" or (path is not None and ".." in PurePosixPath(path).parts):
            raise InvalidArgument("name", name, "must be hf:owner/repo, hf:owner/repo@revision or hf:owner/repo:path")
        return cls(found["repo"], found["revision"], path)

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{PREFIX}{self.repo}{revision}" + ("" if self.path is None else f":{self.path}")


def is_repository_name(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a repository rather than a file or folder here."""
    return os.fspath(path).startswith(PREFIX)


def located(path: str | os.PathLike[str]) -> Path:
    """The file or folder of an SAE on this machine: the path itself, or where its repository's files were downloaded.

    Only files of that SAE are downloaded, and kept by huggingface_hub in its cache; without a network they are read
    from there.

    Raises:
        InvalidArgument: a name that starts with "hf:" and is none.
        InvalidFile: no such repository, revision or path, or no SAE or several there; or one that the token, if there
            is one, does not open.
        MissingResource: huggingface_hub is not installed, or neither network nor cache has it.
    """
    return _downloaded(RepositoryName.parsed(os.fspath(path))) if is_repository_name(path) else Path(path)


def _downloaded(name: RepositoryName) -> Path:
    with named_errors(str(name)) as hub:
        api = hub.HfApi(library_name="expander-theory")
        try:
            names = api.list_repo_files(name.repo, revision=name.revision)
        except hub.unreachable as error:
            return _cached(name, api, error)
        wanted, part = _files(name, names)
        patterns = [glob.escape(one) for one in wanted]
        folder = api.snapshot_download(name.repo, revision=name.revision, allow_patterns=patterns)
    return Path(folder, part)


def _cached(name: RepositoryName, api: Any, error: Exception) -> Path:
    """What is in the cache, where the repository cannot be asked."""
    try:
        # Of the whole repository: what is in the cache of it is what has been asked for before.
        folder = Path(api.snapshot_download(name.repo, revision=name.revision, local_files_only=True))
    except Exception as missing:
        how = "cannot be reached and is not in the cache; check the network, HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE"
        raise MissingResource(f"{name}: {how} ({type(error).__name__}, {type(missing).__name__})") from None
    here = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()]
    _, part = _files(name, here)
    return folder / part


def _files(name: RepositoryName, names: Sequence[str]) -> tuple[list[str], str]:
    """The files of one SAE among those of a repository, and the path of what they make: a file or a folder."""
    path = name.path
    if path is not None and path in names:
        return [path], path
    inside = [one for one in names if str(PurePosixPath(one).parent) == (path or ".")]
    if path is not None and not inside:
        raise InvalidFile(name, "no such file or folder in the repository")
    if any(PurePosixPath(one).name in _FOLDER_OF for one in inside):
        return inside, path or ""
    packed = [one for one in inside if one.endswith(".safetensors")]
    if len(packed) == 1:
        return packed, packed[0]
    candidates = sorted(
        {
            one
            for one in names
            if one.endswith(".safetensors") and PurePosixPath(one).parent.as_posix() not in ("", path)
        }
        | set(packed)
    )
    several = f"; name one of {', '.join(candidates[:10])} by hf:owner/repo:path" if candidates else ""
    raise InvalidFile(name, f"holds {'several SAEs' if packed else 'no SAE'} there{several}")
