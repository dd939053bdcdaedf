"""Where a decoder block's attention and MLP are read and written, by structure and by numbers, for any architecture.

A block is run once. Its parts are its children that hold matrices; the attention and the MLP are found by name. Which
output is what a part adds to the residual stream is decided by the numbers: resid_post - resid_pre is the sum of what
the parts add. So it does not matter whether a norm comes after a part (Gemma 2), the residual stream is added inside it
(Bloom), it lies beside another one (GPT-J), or a third one is there (Falcon-H1).
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sae_bridge.models._hook_points import HookPoint
from sae_bridge.models._watched import Call, Run, watched

INNER = ("mlp_in", "mlp_out", "attn_out", "attn_z")

_ATTENTION = re.compile(r"attn|attention")
_MLP = re.compile(r"mlp|ffn|feed_?forward|moe|experts")
_ROUNDINGS = 64
"""Of float32, of the largest number in a sum: so far may the sum be off."""
_MOST_CHOICES = 4096
_LOOSE = ""
"""Name of the part that linear maps make which lie in the block itself, as OPT's MLP does."""


@dataclass(frozen=True)
class Found:
    """Hook points of a block, and why it lacks the others, by name of the hook."""

    points: Mapping[str, HookPoint]
    lacking: Mapping[str, str]


@dataclass(frozen=True)
class _Part:
    """What may add to the residual stream.

    Attributes:
        entry: the call whose input the part reads.
        projection: the last linear map that is called in it, if any is.
        from_projection: that call, and those that hand its output on: of the module around it, of a norm after it.
        outputs: as many, and those after the part's own output, in the order in which they returned.
    """

    entry: Call
    projection: Call | None
    from_projection: Sequence[Call]
    outputs: Sequence[Call]


def find_hook_points(block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Found:
    """Hook points ``mlp_in``, ``mlp_out``, ``attn_out`` and ``attn_z`` of a block, as far as it has them.

    Args:
        block: in evaluation mode.
        args, kwargs: of any call of it with hidden states (batch, context, m).
    """
    run = watched(block, args, kwargs)
    parts = _parts(block, run)
    attention = [name for name in parts if _is(_ATTENTION, block, name)]
    mlp = [name for name in parts if name not in attention and _is(_MLP, block, name)]
    if not mlp and _LOOSE in parts:
        mlp = [_LOOSE]
    added = _added(parts, run)
    once = Counter(call.name for call in run.calls)
    found: dict[str, HookPoint | str] = {}
    for names, what, out, inner in ((attention, "attention", "attn_out", "attn_z"), (mlp, "MLP", "mlp_out", "mlp_in")):
        if len(names) != 1:
            reason = f"has more than one {what}: {', '.join(names)}" if names else f"has no {what}"
            found |= dict.fromkeys((out, inner), reason)
            continue
        part = parts[names[0]]
        found[out] = _returned(part, added.get(names[0]), what)
        found[inner] = _read(part, once, what) if inner == "mlp_in" else _projected(part, added.get(names[0]))
    points = {hook: point for hook, point in found.items() if isinstance(point, HookPoint)}
    return Found(points, {hook: reason for hook, reason in found.items() if isinstance(reason, str)})


def _returned(part: _Part, added: Call | None, what: str) -> HookPoint | str:
    """What a part adds to the residual stream."""
    point = None if added is None else added.returned()
    return point or (
        f"does not add what its {what} returns to the residual stream: resid_post - resid_pre is no sum of what its "
        "parts return (so where a norm comes after the addition, or the stream itself is scaled)"
    )


def _read(part: _Part, calls: Counter[str], what: str) -> HookPoint | str:
    point = part.entry.read() if calls[part.entry.name] == 1 else None
    return point or f"has no one tensor of hidden states that its {what} reads"


def _projected(part: _Part, added: Call | None) -> HookPoint | str:
    """What the output projection reads, if what comes out of the attention is what that gives."""
    leads = part.from_projection and (part.from_projection[-1] in (added, part.entry) or added in part.from_projection)
    point = part.projection.read() if part.projection and leads else None
    return point or "has no linear map at the end of its attention"


def _is(pattern: re.Pattern[str], block: nn.Module, name: str) -> bool:
    """Whether a part's name, or that of its class, says what it is."""
    return name != _LOOSE and bool(pattern.search(f"{name} {type(block.get_submodule(name)).__name__}".lower()))


def _parts(block: nn.Module, run: Run) -> dict[str, _Part]:
    """Children with matrices that were run, by name, in the order in which they returned."""
    loose = [call for call in run.calls if "." not in call.name and call.linear]
    found = {_LOOSE: _part(loose, run, None)} if loose else {}
    for name, child in block.named_children():
        if any(weight.ndim > 1 for weight in child.parameters()) and name not in {call.name for call in loose}:
            calls = [call for call in run.calls if call.inside(name)]
            if calls:
                found[name] = _part(calls, run, name)
    return found


def _part(calls: list[Call], run: Run, name: str | None) -> _Part:
    own = next((call for call in calls if call.name == name), None)
    projection = next((call for call in reversed(calls) if call.linear), None)
    others = [call for call in run.calls if call not in calls and not _holds_matrices(call)]
    after = {
        id(root): _handed_on(root, [call for call in run.calls if call in calls or call in others])
        for root in (projection, own)
        if root is not None
    }
    once = Counter(call.name for call in run.calls)
    width = run.before.shape
    outputs = {
        id(call): call
        for chain in after.values()
        for call in chain
        if once[call.name] == 1 and call.output is not None and call.output.shape == width
    }
    return _Part(
        own or calls[0],
        projection if projection is not None and once[projection.name] == 1 else None,
        after[id(projection)] if projection is not None else (),
        [call for call in run.calls if id(call) in outputs],
    )


def _holds_matrices(call: Call) -> bool:
    return any(weight.ndim > 1 for weight in call.module.parameters())


def _handed_on(root: Call, calls: Sequence[Call]) -> list[Call]:
    """A call and the later ones, one after the other, that read its output, or give it back from around it."""
    chain = [root]
    for call in calls[calls.index(root) + 1 :]:
        last = chain[-1].output
        around = root.inside(call.name)
        seen = call.output if around else call.input
        if last is not None and seen is not None and seen.shape == last.shape and torch.equal(seen, last):
            chain.append(call)
    return chain


def _added(parts: Mapping[str, _Part], run: Run) -> dict[str, Call]:
    """By part, the latest output that it adds to the residual stream; nothing where no choice of outputs adds up."""
    choices = {name: _distinct(part.outputs) for name, part in parts.items() if part.outputs}
    if not choices or math.prod(map(len, choices.values())) > _MOST_CHOICES:
        return {}
    for chosen in itertools.product(*choices.values()):
        if _adds_up([call.output for call in chosen if call.output is not None], run):
            return dict(zip(choices, chosen, strict=True))
    return {}


def _distinct(calls: Sequence[Call]) -> list[Call]:
    """The latest first, and of those that returned the same the latest only."""
    found: list[Call] = []
    for call in reversed(calls):
        if not any(_same(call.output, other.output) for other in found):
            found.append(call)
    return found


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)


def _adds_up(outputs: Sequence[Tensor], run: Run) -> bool:
    """Whether the block adds a multiple of each of these, to rounding; all count that are not zero."""
    columns = torch.stack([output.double().flatten() for output in outputs], dim=1)
    grown = (run.after.double() - run.before.double()).flatten()
    factors = torch.linalg.lstsq(columns, grown[:, None], driver="gelsd").solution[:, 0]
    terms = columns * factors
    largest = max(float(run.before.abs().amax()), float(run.after.abs().amax()), float(terms.abs().amax()))
    rounding = _ROUNDINGS * torch.finfo(torch.float32).eps * largest
    counts = (terms.abs().amax(dim=0) > rounding) | (columns.abs().amax(dim=0) <= rounding)
    return bool(counts.all()) and float((grown - terms.sum(dim=1)).abs().amax()) <= rounding
