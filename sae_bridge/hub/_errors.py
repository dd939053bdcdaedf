"""What huggingface_hub raises, as errors that say what to do."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

from expander_theory.base import InvalidFile, MissingResource


@contextmanager
def named_errors(name: str) -> Iterator[Any]:
    """huggingface_hub's own functions, and what it raises without a network (``unreachable``), with named errors.

    Args:
        name: of the repository, for messages.

    Raises:
        InvalidFile: a repository that is not there, not open, or not willing.
        MissingResource: not installed, no token, or no network.
    """
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingResource(f"{name}: huggingface_hub is not installed: pip install huggingface_hub") from error
    unreachable = (
        errors.OfflineModeIsEnabled,
        errors.LocalEntryNotFoundError,
        *_transport_errors(),
        ConnectionError,
        TimeoutError,
    )
    offered = SimpleNamespace(
        unreachable=unreachable,
        HfApi=hub.HfApi,
        get_token=hub.get_token,
        CommitOperationAdd=hub.CommitOperationAdd,
    )
    try:
        yield offered
    except errors.GatedRepoError:
        raise InvalidFile(name, "is gated: ask for access on its page, and log in with `hf auth login`") from None
    except errors.RepositoryNotFoundError:
        how = "no such repository, or a private one that this token does not open (`hf auth login` or HF_TOKEN)"
        raise InvalidFile(name, how) from None
    except errors.RevisionNotFoundError:
        raise InvalidFile(name, "no such revision of the repository") from None
    except errors.HFValidationError as error:
        raise InvalidFile(name, f"not a name of a repository: {error}") from None
    except errors.LocalTokenNotFoundError:
        raise MissingResource(f"{name}: no token; log in with `hf auth login`, or set HF_TOKEN") from None
    except unreachable as error:
        how = "cannot be reached; check the network, HF_ENDPOINT and HF_HUB_OFFLINE"
        raise MissingResource(f"{name}: {how} ({type(error).__name__}: {error})") from None
    except errors.HfHubHTTPError as error:
        raise InvalidFile(name, _refusal(error)) from None


def _transport_errors() -> Iterator[type[Exception]]:
    """What the HTTP client of huggingface_hub raises without a connection; its releases have different clients."""
    for client in ("httpx", "httpx2"):
        with suppress(ImportError):
            yield importlib.import_module(client).TransportError


def _refusal(error: Any) -> str:
    status = getattr(error.response, "status_code", None)
    if status in (401, 403):
        return f"the server refuses ({status}): the token is missing, wrong, or may not write there"
    return f"the server answers {status}: {getattr(error, 'server_message', None) or error}"
