"""The operators: derivatives in float64, torch's own checks of custom operators, compile, autocast, bad input."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from expander_theory import InvalidArgument, uniform_mask
from sae_bridge.sae import ops
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE

B, M, N, D, K = 4, 9, 20, 3, 5


def tensors(dense, dtype=torch.float64, seed=0, grad=True):
    """x, weight, bias, rows, acts, indices."""
    generator = torch.Generator().manual_seed(seed)
    rows = None if dense else torch.from_numpy(uniform_mask(M, N, D, seed=1).rows.copy())
    shapes = ((B, M), (N, M if dense else D), (N,), (B, K))
    x, weight, bias, acts = (torch.randn(s, generator=generator, dtype=dtype).requires_grad_(grad) for s in shapes)
    indices = torch.stack([torch.randperm(N, generator=generator)[:K] for _ in range(B)])
    return x, weight, bias, rows, acts, indices


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("magnitude", [False, True])
def test_derivatives_of_encode(dense, magnitude):
    x, weight, bias, rows, *_ = tensors(dense)

    def scores(x, weight, bias):
        return ops.encode(x, weight, bias, rows, K, magnitude)[0]

    assert gradcheck(scores, (x, weight, bias))
    assert gradgradcheck(scores, (x, weight, bias))


@pytest.mark.parametrize("dense", [False, True])
def test_derivatives_of_decode(dense):
    _, weight, _, rows, acts, indices = tensors(dense)

    def out(acts, weight):
        return ops.decode(acts, indices, weight, rows, M)

    assert gradcheck(out, (acts, weight))
    assert gradgradcheck(out, (acts, weight))


@pytest.mark.parametrize("dense", [False, True])
def test_torch_finds_nothing_wrong_with_the_operators(dense):
    x, weight, bias, rows, acts, indices = tensors(dense)
    g = x.detach().requires_grad_()
    library = torch.ops.expander_sae
    torch.library.opcheck(library.encode, (x, weight, bias, rows, K, False, None))
    torch.library.opcheck(library.decode, (acts, indices, weight, rows, M))
    torch.library.opcheck(library.pull, (g, indices, weight, rows))
    torch.library.opcheck(library.accumulate, (acts, indices, g, weight, rows))


@pytest.mark.parametrize("dense", [False, True])
def test_a_compiled_step_is_the_same(dense):
    """Without graph breaks, and with a batch of another size."""
    sae = TopKSAE(M, N, K, seed=1) if dense else ExpanderSAE(uniform_mask(M, N, D, seed=1), K, seed=1)

    def loss(h):
        out, _, _ = sae(h)
        return (out - h).square().mean()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for batch in (6, 11):
        h = torch.randn(batch, M, generator=torch.Generator().manual_seed(batch))
        found = []
        for one in (loss, compiled):
            sae.zero_grad()
            value = one(h)
            value.backward()
            found.append((value.detach(), *(p.grad.clone() for p in sae.parameters())))
        for expected, other in zip(*found, strict=True):
            torch.testing.assert_close(other, expected, atol=1e-6, rtol=1e-6)
    torch.compiler.reset()


@pytest.mark.parametrize("dense", [False, True])
def test_autocast_forms_only_dense_products_in_16_bits(dense):
    x, weight, bias, rows, acts, indices = tensors(dense, torch.float32)
    plain, chosen = ops.encode(x, weight, bias, rows, K)
    with torch.autocast("cpu", torch.bfloat16):
        scores, where = ops.encode(x, weight, bias, rows, K)
        out = ops.decode(acts.bfloat16(), indices, weight, rows, M)
    assert scores.dtype == out.dtype == torch.float32
    if dense:
        assert torch.equal(scores, scores.bfloat16().float())
        assert 0 < (scores - plain).abs().max() < 0.1
    else:
        assert torch.equal(scores, plain)
        assert torch.equal(where, chosen)
    torch.testing.assert_close(out, ops.decode(acts.bfloat16().float(), indices, weight, rows, M))
    scores.sum().backward()
    assert weight.grad.dtype == torch.float32
    assert weight.grad.abs().max() > 0


def test_padding_has_no_gradient_in_the_weights():
    _, weight, _, rows, acts, indices = tensors(False)
    with torch.no_grad():
        acts[:, 2:] = 0
    ops.decode(acts, indices, weight, rows, M).sum().backward()
    used = torch.zeros(N, dtype=torch.bool)
    used[indices[:, :2].flatten()] = True
    assert not weight.grad[~used].any()
    assert weight.grad[used].any(dim=1).all()
    assert acts.grad[:, 2:].any()  # what the loss would gain by using them


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"k": 0}, "k = 0: must be between 1 and n = 20"),
        ({"k": N + 1}, "k = 21"),
        ({"x": torch.zeros(M)}, r"x = \(9,\)"),
        ({"x": torch.zeros(B, M, dtype=torch.float64)}, r"x = torch\.float64: must be of the type of weight"),
        ({"bias": torch.zeros(N + 1)}, r"bias = \(21,\): must have n = 20 entries"),
        ({"rows": torch.zeros(N, D + 1, dtype=torch.int32)}, r"rows = \(20, 4\)"),
        ({"rows": None}, r"x = \(4, 9\): must fit weight \(20, 3\)"),
        ({"rows": torch.zeros(N, D, dtype=torch.int32, device="meta")}, "rows = meta"),
    ],
)
def test_what_encode_refuses(change, match):
    x, weight, bias, rows, *_ = tensors(False, torch.float32, grad=False)
    arguments = {"x": x, "weight": weight, "bias": bias, "rows": rows, "k": K, **change}
    with pytest.raises(InvalidArgument, match=match):
        ops.encode(**arguments)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"indices": torch.zeros(B, K - 1, dtype=torch.int64)}, r"indices = \(4, 4\)"),
        ({"indices": torch.zeros(B, K, dtype=torch.int32)}, r"indices = torch\.int32 on cpu: must be int64"),
        ({"acts": torch.zeros(B, K, dtype=torch.int64)}, r"acts = torch\.int64"),
        ({"rows": None, "m": 4}, "m = 4: must fit weight"),
    ],
)
def test_what_decode_refuses(change, match):
    _, weight, _, rows, acts, indices = tensors(False, torch.float32, grad=False)
    with pytest.raises(InvalidArgument, match=match):
        ops.decode(**{"acts": acts, "indices": indices, "weight": weight, "rows": rows, "m": M, **change})
