"""What can be chosen about an SAE's encoder, and what goes together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from expander_theory.base import require, require_choice, require_int
from sae_bridge.sae.pursuit import Pursued

Encoder = Literal["tied", "warm", "random", "omp", "omp_nonnegative"]
Activation = Literal["topk", "batch_topk", "jumprelu", "gated"]
Selection = Literal["signed", "magnitude"]
Encoding = Literal["tied", "untied", "omp", "omp_nonnegative"]

PURSUITS: dict[str, tuple[Pursued, Selection]] = {
    "omp": ("magnitude", "magnitude"),
    "omp_nonnegative": ("nonnegative", "signed"),
}
"""Encoders that are pursuits: how OMP selects atoms, and the selection of such an SAE: whether codes have signs."""

THRESHOLDED: tuple[Activation, ...] = ("jumprelu", "gated")
"""Activations without a fixed number of active features: each has a threshold of its own, and k is their mean number
that training aims at."""

BATCH_TOPK_SHARE = 8
"""BatchTopK gives one token at most this many times k features; the rest of the batch gets them."""

GROUP_SHARES = (1 / 32, 3 / 32, 7 / 32, 15 / 32, 1.0)
"""Prefixes of a Matryoshka SAE as shares of n, where nothing else is asked for: those of Bussmann et al. 2025."""


@dataclass(frozen=True)
class Options:
    """How an SAE finds its codes; see :class:`sae_bridge.sae.SparseAutoencoder`."""

    encoder: Encoder = "tied"
    activation: Activation = "topk"
    selection: Selection | None = None
    pursuit_steps: int = 1
    groups: Sequence[int] | None = None

    def checked(self, m: int, n: int, k: int) -> Selection:
        """The selection, of options that an SAE of this size can have.

        Raises:
            InvalidArgument: a value out of range, or values that do not go together.
        """
        require(1 <= k <= n, "k", k, f"must be between 1 and n = {n}")
        require_choice("encoder", self.encoder, get_args(Encoder))
        require_choice("activation", self.activation, get_args(Activation))
        selection = resolved_selection(self.encoder, self.selection)
        activation, steps = self.activation, self.pursuit_steps
        if self.encoder in PURSUITS:
            limit, of_pursuit = min(m, n), f"for the encoder {self.encoder!r}"
            require(k <= limit, "k", k, f"must be at most min(m, n) = {limit} {of_pursuit}")
            require(activation == "topk", "activation", repr(activation), f"must be 'topk' {of_pursuit}")
            require(steps == 1, "pursuit_steps", steps, f"must be 1 {of_pursuit}")
        unsigned = activation != "topk" and selection == "magnitude"
        require(not unsigned, "selection", repr(selection), f"must be 'signed' for {activation}")
        stepwise = steps >= 1 and k % steps == 0 and (steps == 1 or activation == "topk")
        require(stepwise, "pursuit_steps", steps, f"must divide k = {k}, and be 1 for {_but_topk(activation)}")
        if self.groups is not None:
            require_groups(self.groups, n)
            require_nested(self.encoder, activation)
        return selection


def _but_topk(activation: str) -> str:
    return "batch_topk" if activation == "topk" else activation


def require_groups(groups: Sequence[int], n: int) -> None:
    """Raise InvalidArgument unless prefix sizes increase from at least 1 to n."""
    sizes = [require_int("groups", size) for size in groups]
    sound = len(sizes) > 0 and sizes == sorted(set(sizes)) and sizes[0] >= 1 and sizes[-1] == n
    require(sound, "groups", tuple(groups), f"must be increasing prefix sizes, the first at least 1, the last n = {n}")


def require_nested(encoder: str, activation: str) -> None:
    """Raise InvalidArgument where the errors of prefixes would be no loss of what finds the codes.

    A pursuit's codes are constants, which is right for the error that they minimise alone; the gate of a Gated SAE is
    trained by a reconstruction of its own; JumpReLU has no k that prefixes share.
    """
    allowed = "must be 'topk' or 'batch_topk' with groups"
    require(activation in ("topk", "batch_topk"), "activation", repr(activation), allowed)
    require(encoder not in PURSUITS, "encoder", repr(encoder), "must be no pursuit with groups")


def group_sizes(groups: Sequence[int], n: int) -> tuple[int, ...]:
    """Prefix sizes of an SAE with n features: as asked for, n added where it is missing; none: :data:`GROUP_SHARES`.

    Raises:
        InvalidArgument: sizes that do not increase, or exceed n.
    """
    sizes = tuple(groups) or tuple(sorted({max(1, int(share * n)) for share in GROUP_SHARES}))
    sizes = sizes if sizes[-1] == n else (*sizes, n)
    require_groups(sizes, n)
    return sizes


def resolved_selection(encoder: str, selection: Selection | None) -> Selection:
    """How an SAE with this encoder selects, where None leaves it to the encoder.

    Raises:
        InvalidArgument: no selection, or one that the pursuit does not have.
    """
    own = PURSUITS[encoder][1] if encoder in PURSUITS else None
    if selection is None:
        return own or "signed"
    require_choice("selection", selection, get_args(Selection))
    signs = "has signs" if encoder == "omp" else "has codes >= 0"
    require(own in (None, selection), "selection", repr(selection), f"must be {own!r}: the encoder {encoder!r} {signs}")
    return selection
