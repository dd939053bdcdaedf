"""The one file format: named arrays in safetensors, with kind, version and a hash of the content.

Nothing here reads or writes pickle. Files are replaced atomically, so a failed write
(full or read-only disk) leaves what was there before.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.errors import InvalidFile

Fields = Mapping[str, Any]


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` by way of a temporary file in the same folder.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full; ``path`` is unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with naming(path), os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let a failed write (a full disk, say) name the file that it was for."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_hash(fields: Fields, arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 (hex) of the fields and of every array's name, dtype, shape and little-endian bytes."""
    digest = hashlib.sha256(canonical_json(dict(fields)).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"\0{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_arrays(
    path: str | os.PathLike[str],
    kind: str,
    version: int,
    fields: Fields,
    arrays: Mapping[str, NDArray[Any]],
) -> None:
    """Save named arrays with JSON-able ``fields`` as one self-describing safetensors file."""
    import safetensors.numpy

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {
        "kind": kind,
        "version": str(version),
        "fields": canonical_json(dict(fields)),
        "sha256": content_hash(fields, contiguous),
    }
    atomic_write(path, safetensors.numpy.save(contiguous, metadata))


def read_arrays(
    path: str | os.PathLike[str], kind: str, version: int
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Load what :func:`write_arrays` saved and check kind, version and hash.

    Raises:
        InvalidFile: the file is missing, truncated, altered, of another kind or of a newer format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise InvalidFile(path, "no such file" if not path.exists() else "is not a file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise InvalidFile(path, f"truncated or not a {kind} file ({error})") from None
    if metadata.get("kind") != kind:
        raise InvalidFile(path, f"holds {metadata.get('kind', 'an unknown kind')!r}, expected {kind!r}")
    try:
        found, fields = int(metadata["version"]), json.loads(metadata["fields"])
    except (KeyError, ValueError) as error:
        raise InvalidFile(path, f"damaged header ({error})") from None
    if found > version:
        raise InvalidFile(
            path, f"format version {found} is newer than {version}, the newest that this release reads: upgrade"
        )
    if content_hash(fields, arrays) != metadata.get("sha256"):
        raise InvalidFile(path, "altered: its content does not match its stored SHA-256")
    return fields, arrays


def stored_kind(path: str | os.PathLike[str]) -> str:
    """The kind that a file written by :func:`write_arrays` declares.

    Raises:
        InvalidFile: the file is missing, truncated, or was not written by this project.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InvalidFile(path, "no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            kind = (file.metadata() or {}).get("kind")
    except SafetensorError as error:
        raise InvalidFile(path, f"truncated or not a file of this project ({error})") from None
    if kind is None:
        raise InvalidFile(path, "not a file of this project (no kind in its header)")
    return kind
