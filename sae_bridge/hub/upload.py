"""Uploads of SAEs to repositories, in one commit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from expander_theory.base import MissingResource
from sae_bridge.hub._errors import named_errors


def upload(
    files: Mapping[str, Path | bytes], repo: str, *, private: bool = False, endpoint: str | None = None, message: str
) -> str:
    """Put files into a model repository, which is made where it is not there; returns its address.

    The token is huggingface_hub's own: HF_TOKEN, or that of ``hf auth login``.

    Args:
        files: by path in the repository: where they lie, or their content.
        repo: owner/name.
        private: whether a new repository is; one that is there stays as it is.
        endpoint: of another server than HF_ENDPOINT's.
        message: of the commit.

    Raises:
        InvalidFile: a name that is none, or a server that refuses.
        MissingResource: no huggingface_hub, no token, or no network.
    """
    with named_errors(f"hf:{repo}") as hub:
        if hub.get_token() is None:
            raise MissingResource(f"hf:{repo}: no token; log in with `hf auth login`, or set HF_TOKEN")
        api = hub.HfApi(endpoint=endpoint, library_name="expander-theory")
        url = api.create_repo(repo, private=private, exist_ok=True)
        operations = [hub.CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(repo, operations, commit_message=message)
        return str(url)
