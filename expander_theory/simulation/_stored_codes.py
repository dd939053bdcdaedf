"""Codes that occur: supports and coefficients from a file, as an SAE or a solver has written them."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import InvalidFile, require
from expander_theory.dictionaries import load_sparse
from expander_theory.results import content_hash


def load_codes(path: str | os.PathLike[str]) -> Any:
    """The codes of a file, a ``scipy.sparse.csr_array`` (codes, n) in float64 without stored zeros.

    Args:
        path: a ``.npz`` file of ``scipy.sparse.save_npz``, as ``expander recover`` and ``expander sae codes`` write it.

    Raises:
        InvalidFile: missing, of another kind or damaged, NaN or infinite, or without a nonzero.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InvalidFile(path, "codes are read from .npz files of scipy.sparse.save_npz")
    codes: Any = load_sparse(path).tocsr()
    if codes.dtype.kind not in "biuf" or codes.ndim != 2:
        problem = f"holds an array of {codes.dtype} in {codes.ndim} dimensions, not real codes (codes, n)"
        raise InvalidFile(path, problem)
    codes = codes.astype(np.float64)
    codes.sum_duplicates()
    codes.eliminate_zeros()
    if not np.isfinite(codes.data).all():
        raise InvalidFile(path, "holds NaN or infinity")
    if codes.nnz == 0:
        raise InvalidFile(path, "holds no nonzero coefficient")
    return codes


def codes_hash(codes: Any) -> str:
    """Content hash (hex) of codes."""
    arrays = {"starts": codes.indptr.astype(np.int64), "atoms": codes.indices.astype(np.int64), "values": codes.data}
    return content_hash({"n": int(codes.shape[1])}, arrays)


@lru_cache(maxsize=4)
def checked_codes(path: str, sha256: str) -> Any:
    """The codes of a file whose content hash is known.

    Raises:
        InvalidFile: as :func:`load_codes`, or the content is another one.
    """
    codes = load_codes(path)
    found = codes_hash(codes)
    if found != sha256:
        raise InvalidFile(path, f"has changed: its codes have SHA-256 {found[:12]}..., expected {sha256[:12]}...")
    return codes


def require_stored(codes: Any, n: int, k: int) -> None:
    """Raise :class:`InvalidArgument` unless some code of length n has k nonzeros."""
    require(codes.shape[1] == n, "file", f"codes of length {codes.shape[1]}", f"must have the dictionary's n = {n}")
    most = int(np.diff(codes.indptr).max())
    require(k <= most, "k", k, f"must be at most {most}, the nonzeros of the fullest code in the file")


@lru_cache(maxsize=8)
def strongest(path: str, sha256: str, k: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """:func:`strongest_entries` of the codes of a file."""
    return strongest_entries(checked_codes(path, sha256), k)


def strongest_entries(codes: Any, k: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Of every code with at least k nonzeros the k of largest modulus (ties to the lowest column), (codes, k) each:
    supports, increasing, and their coefficients."""
    counts = np.diff(codes.indptr)
    rows = np.nonzero(counts >= k)[0]
    supports, values = np.empty((len(rows), k), np.int32), np.empty((len(rows), k))
    for at, row in enumerate(rows):
        part = slice(codes.indptr[row], codes.indptr[row + 1])
        atoms, own = codes.indices[part], codes.data[part]
        kept = np.lexsort((atoms, -np.abs(own)))[:k]
        kept = kept[np.argsort(atoms[kept])]
        supports[at], values[at] = atoms[kept], own[kept]
    return supports, values
