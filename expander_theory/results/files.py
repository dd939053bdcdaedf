"""The one file format: named arrays in safetensors, with kind, version and a hash of the content.

Nothing here reads or writes pickle. Files are replaced atomically, so a failed write
(full or read-only disk) leaves what was there before.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import InvalidFile
from expander_theory.results.typed import Hex, Size, parsed, typed

Fields = Mapping[str, Any]

HEADER = "expander-theory"
"""The entry of a file's safetensors metadata that says what it is."""


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` by way of a temporary file in the same folder.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full; ``path`` is unchanged.
    """
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A temporary file in the same folder, to write and read, that takes the place of ``path`` at the end.

    Raises:
        OSError: as :func:`atomic_write`.
    """
    path = Path(path)
    if path.is_symlink():  # what it leads to is replaced, not the link
        path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with naming(path), os.fdopen(descriptor, "w+b") as file:
            yield file
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
    header = {
        "kind": kind,
        "version": version,
        "fields": dict(fields),
        "sha256": _file_hash(kind, version, fields, contiguous),
    }
    # One entry: safetensors writes several in no fixed order, and equal content shall give equal bytes.
    atomic_write(path, safetensors.numpy.save(contiguous, {HEADER: canonical_json(header)}))


def read_arrays(
    path: str | os.PathLike[str], kind: str, version: int
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Load what :func:`write_arrays` saved and check kind, version and hash.

    Raises:
        InvalidFile: the file is missing, truncated, altered, of another kind or of a newer format.
    """
    header = _header(path)
    if header["kind"] != kind:
        raise InvalidFile(path, f"holds {header['kind']!r}, expected {kind!r}")
    if header["version"] > version:
        found = header["version"]
        raise InvalidFile(
            path, f"format version {found} is newer than {version}, the newest that this release reads: upgrade"
        )
    arrays = read_tensors(path)
    fields = header["fields"]
    if _file_hash(kind, header["version"], fields, arrays) != header["sha256"]:
        raise InvalidFile(path, "altered: its content does not match its stored SHA-256")
    return fields, arrays


def stored_kind(path: str | os.PathLike[str]) -> str:
    """The kind that a file written by :func:`write_arrays` declares.

    Raises:
        InvalidFile: the file is missing, truncated, or was not written by this project.
    """
    return _header(path)["kind"]


def _file_hash(kind: str, version: int, fields: Fields, arrays: Mapping[str, NDArray[Any]]) -> str:
    return content_hash({"kind": kind, "version": version, "fields": dict(fields)}, arrays)


def stored_sha256(path: str | os.PathLike[str]) -> str:
    """The content hash that a file declares (checked against its content by :func:`read_arrays`)."""
    return _header(path)["sha256"]


def read_tensors(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """All arrays of a safetensors file, by name.

    Raises:
        InvalidFile: missing, truncated, or of a dtype that NumPy lacks.
    """
    from safetensors import SafetensorError, safe_open

    _require_file(path)
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (TypeError, AttributeError) as error:  # bfloat16, eight bits and fewer
        raise InvalidFile(path, f"holds an array of a dtype that NumPy lacks ({error})") from None
    except (SafetensorError, ValueError) as error:
        raise InvalidFile(path, f"truncated or no safetensors file ({error})") from None


def read_npy(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array of a ``.npy`` file; nothing is allocated that the file does not hold, and nothing unpickled.

    Raises:
        InvalidFile: missing, truncated, an archive, or no such file.
    """
    _require_file(path)
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OverflowError, SyntaxError, zipfile.BadZipFile, tokenize.TokenError) as error:
        raise InvalidFile(path, f"not a .npy file of numbers ({error})") from None
    if not isinstance(mapped, np.ndarray):
        raise InvalidFile(path, "is an archive (.npz), expected a .npy file")
    return np.array(mapped)


def _require_file(path: str | os.PathLike[str]) -> None:
    if not Path(path).is_file():
        raise InvalidFile(path, "is not a file" if Path(path).exists() else "no such file")


class _Header(TypedDict):
    kind: str
    version: Size
    fields: dict[str, Any]
    sha256: Hex


def _header(path: str | os.PathLike[str]) -> _Header:
    from safetensors import SafetensorError, safe_open

    _require_file(path)
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(HEADER)
    except (SafetensorError, ValueError) as error:
        raise InvalidFile(path, f"truncated or not a file of this project ({error})") from None
    if text is None:
        raise InvalidFile(path, f"not a file of this project (no {HEADER!r} in its header)")
    return typed(path, parsed(path, text, "the header"), _Header, "the header")


def files_below(folder: str | os.PathLike[str], suffixes: tuple[str, ...]) -> list[Path]:
    """Files of these suffixes anywhere in a folder, links to folders followed, in the order of their paths.

    A folder that is reached twice (by two links, or by a link to a folder above it) is read once.

    Raises:
        OSError: a folder that cannot be read.
    """
    found, seen = [], set()

    def fail(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, followlinks=True, onerror=fail):
        folders.sort()
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        found += [path for name in names if (path := Path(place, name)).suffix in suffixes]
    return sorted(found)
