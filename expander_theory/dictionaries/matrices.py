"""NumPy and scipy.sparse matrices as dictionaries."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expander_theory.base import InvalidArgument, InvalidFile, require
from expander_theory.dictionaries.block_dictionary import BlockDictionary
from expander_theory.dictionaries.dictionary import DenseDictionary, Dictionary, real_array
from expander_theory.dictionaries.kinds import AnyDictionary, load_dictionary
from expander_theory.masks import Mask
from expander_theory.results import read_npy


def load_matrix(path: str | os.PathLike[str]) -> AnyDictionary:
    """A dictionary from a file: one that this project saved, a ``.npy`` array or a ``.npz`` of scipy.sparse, (m, n).

    Raises:
        InvalidFile: missing, damaged or of another kind, or no dictionary: a zero column, NaN, complex numbers.
    """
    path = Path(path)
    if path.suffix not in (".npy", ".npz"):
        return load_dictionary(path)
    try:
        return as_dictionary(read_npy(path) if path.suffix == ".npy" else load_sparse(path))
    except InvalidArgument as error:
        raise InvalidFile(path, f"holds no dictionary: {error}") from None


def load_sparse(path: str | os.PathLike[str]) -> Any:
    """The matrix of a ``.npz`` file of ``scipy.sparse.save_npz``; its indices lie in its shape.

    Raises:
        InvalidFile: missing, damaged or of another kind, or with pickled objects, which are never loaded.
    """
    import scipy.sparse

    try:
        found: Any = scipy.sparse.load_npz(io.BytesIO(Path(path).read_bytes()))
        if hasattr(found, "check_format"):
            found.check_format(full_check=True)
        return found
    except FileNotFoundError:
        raise InvalidFile(path, "no such file") from None
    except (*_DAMAGED, zipfile.BadZipFile, zlib.error) as error:
        why = str(error).splitlines()[0] if str(error) else repr(error)
        raise InvalidFile(path, f"holds no matrix of scipy.sparse.save_npz ({why})") from None


_DAMAGED = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, RuntimeError, MemoryError, AttributeError)


def require_sound(name: str, matrix: Any) -> Any:
    """The scipy.sparse matrix, if its indices lie in its shape: scipy's own loops believe them.

    Raises:
        InvalidArgument: they do not.
    """
    if hasattr(matrix, "check_format"):
        try:
            matrix.check_format(full_check=True)
        except ValueError as error:
            require(False, name, "a sparse matrix", f"must be sound: {error}")
    return matrix


def as_dictionary(matrix: AnyDictionary | ArrayLike | Any) -> AnyDictionary:
    """A dictionary of this project as it is; a scipy.sparse or NumPy (m, n) matrix as one.

    Columns of a sparse matrix with fewer nonzeros than others are filled up with stored zeros, which change nothing.
    A sparse matrix with a column that is more than half full becomes a dense dictionary.

    Raises:
        InvalidArgument: no matrix, complex or no numbers, no columns, a zero column, NaN or infinite entries.
    """
    import scipy.sparse

    if isinstance(matrix, Dictionary | DenseDictionary | BlockDictionary):
        return matrix
    if not scipy.sparse.issparse(matrix):
        dense = real_array("dictionary", matrix)
        require(dense.ndim == 2, "dictionary", f"array of shape {dense.shape}", "must be an (m, n) matrix")
        return DenseDictionary(np.ascontiguousarray(dense.T))
    given: Any = matrix
    kind = given.dtype
    require(kind.kind in "biuf", "dictionary", f"array of {kind}", "must be real numbers")
    require_sound("dictionary", matrix)
    compressed: Any = scipy.sparse.csc_array(matrix, copy=True)  # what follows writes into it
    compressed.sum_duplicates()
    compressed.eliminate_zeros()
    if compressed.dtype != np.float32:
        compressed = compressed.astype(np.float64)
    m, n = compressed.shape
    degrees = np.diff(compressed.indptr)
    require(n > 0 and m > 0, "dictionary", f"matrix of shape {(m, n)}", "must have rows and columns")
    require(
        bool(degrees.all()), "dictionary", f"matrix whose column {int(np.argmin(degrees))} is zero", "must have none"
    )
    d = int(degrees.max())
    if 2 * d > m:
        return DenseDictionary(np.ascontiguousarray(compressed.toarray().T))
    rows, values = np.empty((n, d), np.int32), np.zeros((n, d), compressed.dtype)
    for j in range(n):
        own = compressed.indices[compressed.indptr[j] : compressed.indptr[j + 1]]
        free = np.setdiff1d(np.arange(min(m, d)), own)[: d - own.size]
        order = np.argsort(np.concatenate([own, free]), kind="stable")
        rows[j] = np.concatenate([own, free])[order]
        values[j] = np.pad(compressed.data[compressed.indptr[j] : compressed.indptr[j + 1]], (0, d - own.size))[order]
    return Dictionary(Mask(m, rows), values)
