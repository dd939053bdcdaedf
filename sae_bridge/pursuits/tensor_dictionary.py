"""Dictionaries as tensors on one device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from expander_theory.base import Immutable, require
from expander_theory.dictionaries import AnyDictionary, Dictionary, without_blocks

_UNIT = 1e-6


@dataclass(frozen=True, eq=False)
class TensorDictionary(Immutable):
    """A dictionary as tensors on one device: what many calls share, or an SAE's decoder. Copies are stored.

    Attributes:
        m: width of a signal.
        values: (n, d) entries of each column, or (n, m) for a dense dictionary; contiguous, without gradient.
        rows: int32 or int64 (n, d), their rows, distinct in each column; None for a dense dictionary.

    Raises:
        InvalidArgument: shapes, dtypes or devices that do not fit, rows out of range or repeated, NaN or infinite
            values, or a zero column.
    """

    m: int
    values: Tensor
    rows: Tensor | None = None

    def __post_init__(self) -> None:
        values, rows = self.values, self.rows
        require_floating("values", values)
        width = self.m if rows is None else rows.shape[-1]
        fits = values.ndim == 2 and values.shape[1] == width and values.numel() > 0
        expected = f"(n, m = {self.m})" if rows is None else f"that of rows, {tuple(rows.shape)}"
        require(fits, "values", f"tensor of shape {tuple(values.shape)}", f"must have the shape {expected}")
        if rows is not None:
            require(
                rows.dtype in (torch.int32, torch.int64), "rows", f"tensor of {rows.dtype}", "must be int32 or int64"
            )
            require(rows.shape == values.shape, "rows", f"tensor of shape {tuple(rows.shape)}", "must be (n, d)")
            require(rows.device == values.device, "rows", f"tensor on {rows.device}", f"must be on {values.device}")
            inside = bool(((rows >= 0) & (rows < self.m)).all())
            require(inside, "rows", f"tensor with entries {int(rows.min())}..{int(rows.max())}", f"must be < {self.m}")
            repeated = bool((rows.sort(1).values.diff(dim=1) == 0).any())
            require(not repeated, "rows", "tensor with a repeated row in a column", "must be distinct in each column")
        require(bool(values.isfinite().all()), "values", "tensor with NaN or infinity", "must be finite")
        require(bool(values.any(1).all()), "values", "tensor with a zero column", "must have no zero column")
        for name, tensor in (("values", values.detach()), ("rows", rows)):
            if tensor is not None:
                object.__setattr__(self, name, tensor.clone(memory_format=torch.contiguous_format))

    @classmethod
    def trusted(cls, m: int, values: Tensor, rows: Tensor | None) -> TensorDictionary:
        """One of tensors that were checked before, as a decoder's are: neither checked again nor copied.

        The checks read values back from a CUDA device, which would wait for it in every step of a training.
        """
        own = object.__new__(cls)
        for name, value in (("m", m), ("values", values.detach()), ("rows", rows)):
            object.__setattr__(own, name, value)
        return own

    @classmethod
    def of(cls, dictionary: AnyDictionary, like: Tensor) -> TensorDictionary:
        """A numpy dictionary on the device and in the dtype of ``like``; one of blocks becomes dense."""
        dictionary = without_blocks(dictionary)
        values = torch.tensor(dictionary.values, dtype=like.dtype, device=like.device)
        if not isinstance(dictionary, Dictionary):
            return cls(dictionary.m, values)
        return cls(dictionary.m, values, torch.tensor(dictionary.mask.rows, device=like.device))

    def after(self, columns: Tensor) -> TensorDictionary:
        """A dense dictionary: columns (r, m), which were checked before, and then these, with m values each."""
        return TensorDictionary.trusted(self.m, torch.cat([columns, self.to_dense()]), None)

    @property
    def n(self) -> int:
        """Number of columns."""
        return len(self.values)

    @property
    def d(self) -> int:
        """Entries per column; m for a dense dictionary."""
        return self.values.shape[1]

    def to(self, like: Tensor) -> TensorDictionary:
        """This dictionary on the device and in the dtype of ``like``; itself if it is there."""
        if self.values.device == like.device and self.values.dtype == like.dtype:
            return self
        rows = None if self.rows is None else self.rows.to(like.device)
        return TensorDictionary(self.m, self.values.to(like), rows)

    @cached_property
    def norms(self) -> Tensor:
        """l2 norms of the columns, float64 (n,)."""
        values = self.values.double()
        largest = values.abs().amax(1)  # squares of very large or very small values would overflow or vanish
        return largest * torch.linalg.vector_norm(values / largest[:, None], dim=1)

    @cached_property
    def unit(self) -> TensorDictionary:
        """This dictionary with unit columns; itself if they are, to single precision."""
        if float((self.norms - 1).abs().max()) <= _UNIT:
            return self
        values = (self.values.double() / self.norms[:, None]).to(self.values.dtype)
        return TensorDictionary(self.m, values, self.rows)

    def to_dense(self) -> Tensor:
        """The columns as rows, (n, m)."""
        if self.rows is None:
            return self.values.clone()
        return self.values.new_zeros(self.n, self.m).scatter_(1, self.rows.long(), self.values)


def require_floating(name: str, tensor: Tensor) -> None:
    """Raise :class:`InvalidArgument` unless ``tensor`` is one of float32 or float64."""
    require(isinstance(tensor, Tensor), name, type(tensor).__name__, "must be a tensor")
    floating = tensor.dtype in (torch.float32, torch.float64)
    require(floating, name, f"tensor of {tensor.dtype}", "must be float32 or float64")
