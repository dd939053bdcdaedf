"""The sparse products of a TopK SAE as torch operators: differentiable, safe under ``torch.compile`` and autocast.

Row j of ``weight`` holds the stored values of w_j: (n, d) at ``rows`` on a mask, (n, m) with ``rows = None`` dense.
Only what the B k chosen features touch is computed in the backward passes: O(B k d). The operators ``decode``,
``pull`` and ``accumulate`` are the three gradients of one form,

    T(a, w, g) = sum_{b, i} a_{b, i} <w_{indices[b, i]}, g_b>,

linear in each argument, so their own gradients are again these operators and any order of derivative exists. They run
the loops of :func:`sae_bridge.kernels.backend`.

Autocast (CPU and CUDA): everything is cast to float32, as autocast does for sums, float64 stays; only the product of
a dense ``encode``, which costs O(B n m), is formed in autocast's type, and its k chosen scores are given as float32.
"""

from typing import Any

import torch
from torch import Tensor

from expander_theory.base import InvalidArgument
from sae_bridge import kernels
from sae_bridge.kernels.checks import require_features, require_rows


def encode(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    rows: Tensor | None,
    k: int,
    magnitude: bool = False,
    *,
    trusted: bool = False,
) -> tuple[Tensor, Tensor]:
    """The k largest of E x + bias for every token, and where they are; differentiable in x, weight and bias.

    Args:
        x: tokens, (B, m).
        weight: stored values of the rows of E, (n, d) on a mask, (n, m) dense.
        bias: (n,), of the type of x and weight.
        rows: rows of the mask, integer (n, d); None where dense.
        k: how many, 1 <= k <= n.
        magnitude: choose by magnitude instead of by value.
        trusted: the rows are those of a mask; see :func:`decode`.

    Returns:
        Scores (B, k), decreasing in value (in magnitude), with their signs and without ReLU; and the indices of the
        features, (B, k) int64, which have no gradient.

    Raises:
        InvalidArgument: shapes, types or devices that do not fit, k out of range, a row that is none.
    """
    device = x.device.type
    mixed = torch.is_autocast_enabled(device)
    _check_weight(weight, rows, x.shape[1] if x.ndim == 2 else -1, ("x", x))
    _check_alike(weight, mixed, x=x, bias=bias)
    if bias.shape != weight.shape[:1]:
        raise InvalidArgument("bias", tuple(bias.shape), f"must have n = {weight.shape[0]} entries")
    if not 1 <= k <= weight.shape[0]:
        raise InvalidArgument("k", k, f"must be between 1 and n = {weight.shape[0]}")
    _check_values(None, weight, rows, x.shape[1], trusted)
    product = torch.get_autocast_dtype(device) if mixed and rows is None and x.dtype != torch.float64 else None
    return _encode(x, weight, bias, rows, k, magnitude, product)


def decode(
    acts: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None, m: int, *, trusted: bool = False
) -> Tensor:
    """sum_i acts[:, i] w_{indices[:, i]}, shape (B, m); differentiable in acts and weight.

    Args:
        acts: (B, k); zeros are padding, which adds nothing to the sum or to the gradient in weight.
        indices: features, (B, k) int64 in 0 .. n-1, padding included.
        weight: stored values of the columns, (n, d) on a mask, (n, m) dense.
        rows: rows of the mask, integer (n, d); None where dense.
        m: entries of a column.
        trusted: the indices come from :func:`encode` and the rows from a mask: the check, for which CUDA waits for the
            device, is left out there. On a CPU it always runs, at a cost too small to measure.

    Raises:
        InvalidArgument: shapes, types or devices that do not fit, an index that is no feature, or a row that is none
            (in a compiled graph on CUDA these two are not checked).
    """
    _check_weight(weight, rows, m, ("m", m))
    _check_alike(weight, torch.is_autocast_enabled(acts.device.type), acts=acts)
    if acts.ndim != 2 or indices.shape != acts.shape:
        raise InvalidArgument(
            "indices", tuple(indices.shape), f"must have the shape (B, k) of acts {tuple(acts.shape)}"
        )
    if indices.dtype != torch.int64 or indices.device != acts.device:
        raise InvalidArgument("indices", f"{indices.dtype} on {indices.device}", f"must be int64 on {acts.device}")
    _check_values(indices, weight, rows, m, trusted)
    return _decode(acts, indices, weight, rows, m)


def scores_at(x: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    """E x of chosen features, shape (B, K); differentiable in x and weight.

    Args:
        x: tokens, (B, m).
        indices: features, (B, K) int64, from :func:`encode`.
        weight, rows: stored values of the rows of E, as :func:`encode` takes them; the rows are those of a mask.
    """
    # Under autocast as encode and decode: in float32, but for float64.
    with torch.autocast(x.device.type, enabled=False):
        kind = torch.promote_types(x.dtype, weight.dtype)
        return _pull(x.to(kind), indices, weight.to(kind), rows)


def _check_weight(weight: Tensor, rows: Tensor | None, m: int, source: tuple[str, Any]) -> None:
    """``source`` is the argument that says what m is; m < 0 where it has no second axis."""
    name, value = source
    if m < 0 or (rows is None and weight.shape[1:] != (m,)):
        shown = tuple(value.shape) if isinstance(value, Tensor) else value
        raise InvalidArgument(
            name, shown, f"must fit weight {tuple(weight.shape)}: m columns where dense, (B, m) tokens"
        )
    if rows is not None:
        if rows.shape != weight.shape or rows.ndim != 2:
            raise InvalidArgument("rows", tuple(rows.shape), f"must be (n, d) as weight {tuple(weight.shape)}")
        if rows.dtype not in (torch.int32, torch.int64):
            raise InvalidArgument("rows", rows.dtype, "must be int32 or int64")
        if rows.device != weight.device:
            raise InvalidArgument("rows", rows.device, f"must be on the device of weight, {weight.device}")


def _check_values(indices: Tensor | None, weight: Tensor, rows: Tensor | None, m: int, trusted: bool) -> None:
    """Indices and rows, which the loops believe; those of :mod:`sae_bridge.kernels.cpu` check theirs."""
    if torch.compiler.is_compiling() or kernels.backend(weight) is kernels.cpu or (trusted and weight.is_cuda):
        return
    if indices is not None:
        require_features(indices, weight.shape[0])
    if rows is not None:
        require_rows(rows, m)


def _check_alike(weight: Tensor, mixed: bool, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.device != weight.device:
            raise InvalidArgument(name, tensor.device, f"must be on the device of weight, {weight.device}")
        if not (tensor.is_floating_point() and (mixed or tensor.dtype == weight.dtype)):
            raise InvalidArgument(name, tensor.dtype, f"must be of the type of weight, {weight.dtype}")


@torch.library.custom_op("expander_sae::encode", mutates_args=())
def _encode(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    rows: Tensor | None,
    k: int,
    magnitude: bool,
    product: torch.dtype | None,
) -> tuple[Tensor, Tensor]:
    tokens, matrix, offset = (t.detach() if product is None else t.detach().to(product) for t in (x, weight, bias))
    scores, indices = kernels.backend(tokens).encode(tokens, matrix, rows, offset, k, magnitude)
    return scores.to(x.dtype), indices


@torch.library.custom_op("expander_sae::decode", mutates_args=())
def _decode(acts: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None, m: int) -> Tensor:
    return kernels.backend(acts).combine(acts, indices, weight, rows, m)


@torch.library.custom_op("expander_sae::pull", mutates_args=())
def _pull(g: Tensor, indices: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    return kernels.backend(g).pull(g, indices, weight, rows)


@torch.library.custom_op("expander_sae::accumulate", mutates_args=())
def _accumulate(acts: Tensor, indices: Tensor, g: Tensor, weight: Tensor, rows: Tensor | None) -> Tensor:
    return kernels.backend(g).accumulate(acts, indices, g, weight, rows)


@_encode.register_fake
def _(x, weight, bias, rows, k, magnitude, product):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], k), x.new_empty(x.shape[0], k, dtype=torch.int64)


@_decode.register_fake
def _(acts, indices, weight, rows, m):  # type: ignore[no-untyped-def]
    return acts.new_empty(acts.shape[0], m)


@_pull.register_fake
def _(g, indices, weight, rows):  # type: ignore[no-untyped-def]
    return g.new_empty(indices.shape)


@_accumulate.register_fake
def _(acts, indices, g, weight, rows):  # type: ignore[no-untyped-def]
    return torch.empty_like(weight, memory_format=torch.contiguous_format)


def _save_encode(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, rows, *_ = inputs
    ctx.save_for_backward(x, weight, rows, output[1])
    ctx.m, ctx.n = x.shape[1], weight.shape[0]


def _encode_backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, rows, indices = ctx.saved_tensors
    for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
    return (
        _decode(grad, indices, weight, rows, ctx.m) if for_x else None,
        _accumulate(grad, indices, x, weight, rows) if for_weight else None,
        grad.new_zeros(ctx.n).index_add(0, indices.flatten(), grad.flatten()) if for_bias else None,
        *[None] * 4,
    )


def _save_decode(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])


def _decode_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    acts, indices, weight, rows = ctx.saved_tensors
    for_acts, _, for_weight = ctx.needs_input_grad[:3]
    return (
        _pull(grad, indices, weight, rows) if for_acts else None,
        None,
        _accumulate(acts, indices, grad, weight, rows) if for_weight else None,
        None,
        None,
    )


def _save_all(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _pull_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    g, indices, weight, rows = ctx.saved_tensors
    for_g, _, for_weight = ctx.needs_input_grad[:3]
    return (
        _decode(grad, indices, weight, rows, g.shape[1]) if for_g else None,
        None,
        _accumulate(grad, indices, g, weight, rows) if for_weight else None,
        None,
    )


def _accumulate_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    acts, indices, g, _, rows = ctx.saved_tensors
    for_acts, _, for_g = ctx.needs_input_grad[:3]
    return (
        _pull(g, indices, grad, rows) if for_acts else None,
        None,
        _decode(acts, indices, grad, rows, g.shape[1]) if for_g else None,
        None,  # weight gives the shape only
        None,
    )


_encode.register_autograd(_encode_backward, setup_context=_save_encode)
_decode.register_autograd(_decode_backward, setup_context=_save_decode)
_pull.register_autograd(_pull_backward, setup_context=_save_all)
_accumulate.register_autograd(_accumulate_backward, setup_context=_save_all)
for _operator in (_encode, _decode):
    for _device in ("cpu", "cuda"):
        _operator.register_autocast(_device, torch.float32)
