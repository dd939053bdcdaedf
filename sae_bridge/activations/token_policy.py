"""Which token positions count for training and for metrics: a policy that is recorded with the activations.

The first position of a context has a residual norm a hundred times that of the rest in most models, special
tokens mark borders and carry no text, and a few other tokens act as attention sinks of outlying norm. Any of them
makes the fraction of variance explained look excellent for nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import InvalidArgument, require


@dataclass(frozen=True)
class TokenPolicy:
    """What counts, said without a tokenizer.

    Attributes:
        bos: put the tokenizer's BOS token in front of every context (it takes one of the context's places);
            None: exactly if the tokenizer does so by itself.
        drop_first: the first position of every context does not count.
        drop_special: tokens that the tokenizer lists as special (``all_special_ids``) do not count.
        outlier_ratio: tokens whose norm exceeds this many medians do not count; None: no such limit. The median
            is that of the positions of the first training shard that count otherwise.
    """

    bos: bool | None = None
    drop_first: bool = True
    drop_special: bool = True
    outlier_ratio: float | None = 6.0

    def __post_init__(self) -> None:
        ratio = self.outlier_ratio
        valid = ratio is None or (math.isfinite(ratio) and ratio > 0)
        require(valid, "outlier_ratio", ratio, "must be positive and finite, or None for no limit")

    def resolve(self, tokenizer: Any) -> CountedPositions:
        """The policy in token ids.

        Raises:
            InvalidArgument: ``bos`` is True and the tokenizer has no BOS token.
        """
        bos_id = getattr(tokenizer, "bos_token_id", None)
        if self.bos and bos_id is None:
            allowed = f"the tokenizer ({type(tokenizer).__name__}) has no BOS token; leave bos out or turn it off"
            raise InvalidArgument("bos", True, allowed)
        prepend = _adds_bos(tokenizer, bos_id) if self.bos is None else self.bos
        special = tuple(sorted({int(i) for i in tokenizer.all_special_ids})) if self.drop_special else ()
        return CountedPositions(bos_id if prepend else None, self.drop_first, special, self.outlier_ratio)


@dataclass(frozen=True)
class CountedPositions:
    """A policy in the token ids of one tokenizer.

    Attributes:
        bos_id: the id in front of every context, or None.
        drop_first: the first position does not count.
        special_ids: ids that do not count, ascending.
        outlier_ratio: as in :class:`TokenPolicy`.
    """

    bos_id: int | None
    drop_first: bool
    special_ids: tuple[int, ...]
    outlier_ratio: float | None

    def as_fields(self) -> dict[str, Any]:
        """JSON-able fields from which :meth:`from_fields` makes this object again."""
        return {**asdict(self), "special_ids": list(self.special_ids)}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> CountedPositions:
        """The policy that :meth:`as_fields` described; KeyError or TypeError where they are not its fields."""
        return cls(**{**fields, "special_ids": tuple(fields["special_ids"])})

    def candidates(self, tokens: NDArray[Any]) -> NDArray[np.bool_]:
        """Positions that count by place and id: bool of the shape of ``tokens`` (contexts, context)."""
        counted = ~np.isin(tokens, self.special_ids)
        if self.drop_first:
            counted[:, 0] = False
        return counted

    def norm_limit(self, norms: NDArray[np.float64]) -> float:
        """The largest norm that counts, given the norms of the first training shard's candidates.

        Raises:
            InvalidArgument: no candidate at all.
        """
        if self.outlier_ratio is None:
            return math.inf
        require(norms.size > 0, "policy", self, "leaves no token of the first training contexts")
        return self.outlier_ratio * float(np.median(norms))


def norms_of(activations: Tensor) -> NDArray[np.float64]:
    """Euclidean norms along the last axis, summed in float64 so that they do not depend on the batching."""
    return torch.linalg.vector_norm(activations.double(), dim=-1).numpy()


def _adds_bos(tokenizer: Any, bos_id: int | None) -> bool:
    """Whether the tokenizer puts its BOS token in front of a text when it is left to itself."""
    if bos_id is None:
        return False
    return list(tokenizer("a", verbose=False)["input_ids"])[:1] == [bos_id]
