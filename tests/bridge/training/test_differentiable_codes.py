"""The gradient of a loss other than the reconstruction error, through the codes of a pursuit."""

import numpy as np
import pytest
import torch

from expander_theory import InvalidArgument
from expander_theory.masks import uniform_mask
from sae_bridge.codes import differentiable_codes
from sae_bridge.sae import BlockSAE, ExpanderSAE, TopKSAE

M, N, K = 24, 40, 5
BUILD = {
    "mask": lambda **how: ExpanderSAE(uniform_mask(M, N, 6, seed=1), K, seed=2, **how),
    "dense": lambda **how: TopKSAE(M, N, K, seed=2, **how),
    "blocks": lambda **how: BlockSAE(uniform_mask(M, N - 3, 6, seed=1), 3, K, seed=2, **how),
}


def losses(reconstruction):
    """A loss of which codes are no minimum."""
    weights = torch.linspace(-1, 2, reconstruction.numel(), dtype=reconstruction.dtype).view_as(reconstruction)
    return (weights * reconstruction.sin()).sum()


def numerical(function, parameter, direction, step=1e-6):
    with torch.no_grad():
        parameter += step * direction
        above = float(function())
        parameter -= 2 * step * direction
        below = float(function())
        parameter += step * direction
    return (above - below) / (2 * step)


def prepared(kind, encoder):
    sae = BUILD[kind](encoder=encoder).double()
    generator = torch.Generator().manual_seed(3)
    sae.b_dec.data = 0.1 * torch.randn(M, generator=generator, dtype=torch.float64)
    return sae, torch.randn(12, M, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("encoder", ["omp", "omp_nonnegative"])
@pytest.mark.parametrize("kind", BUILD)
def test_it_is_the_derivative_of_coding_anew(kind, encoder):
    """Against finite differences of the whole map, pursuit included: decoder values and b_dec."""
    sae, h = prepared(kind, encoder)

    def loss():
        acts, indices = sae.code(sae.centred(h))
        return losses(sae.combine(acts, indices) + sae.b_dec)

    x = sae.centred(h)
    acts, indices = sae.code(x)
    exact = differentiable_codes(sae, x, acts, indices)
    torch.testing.assert_close(exact, acts, rtol=1e-9, atol=1e-11)
    losses(sae.combine(exact, indices) + sae.b_dec).backward()
    for parameter in (*sae.decoder_parts, sae.b_dec):
        direction = torch.from_numpy(np.random.default_rng(0).normal(size=parameter.shape))
        if parameter is not sae.b_dec:  # coding expects unit columns, which stay unit to first order along the sphere
            direction -= (direction * parameter.data).sum(dim=1, keepdim=True) * parameter.data
        expected = numerical(loss, parameter, direction)
        assert float((parameter.grad * direction).sum()) == pytest.approx(expected, rel=1e-5)
        assert abs(expected) > 1e-2


def test_constant_codes_give_another_gradient():
    sae, h = prepared("mask", "omp")
    x = sae.centred(h)
    acts, indices = sae.code(x)
    exact = differentiable_codes(sae, x, acts, indices)
    (full,) = torch.autograd.grad(losses(sae.combine(exact, indices)), sae.weight)
    (partial,) = torch.autograd.grad(losses(sae.combine(acts, indices)), sae.weight)
    assert float((full - partial).norm() / full.norm()) > 0.1


@pytest.mark.parametrize("kind", BUILD)
def test_the_gradient_of_the_reconstruction_error_is_the_same(kind):
    sae, h = prepared(kind, "omp")
    x = sae.centred(h)
    acts, indices = sae.code(x)
    exact = differentiable_codes(sae, x, acts, indices)
    found, expected = (
        torch.autograd.grad((sae.combine(codes, indices) - x).square().sum(), sae.decoder_parts, retain_graph=True)
        for codes in (exact, acts)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_padding_and_dependent_columns_have_finite_gradients():
    """A token that two atoms explain, and columns of which two are the same."""
    sae, h = prepared("mask", "omp")
    with torch.no_grad():
        sae.rows[1], sae.weight[1] = sae.rows[0], sae.weight[0]
    indices = torch.tensor([[0, 1, 2, 0, 0], [3, 4, 0, 0, 0]])
    acts = torch.tensor([[1.0, 1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    x = sae.combine(acts, indices).detach() + 0.1 * h[:2]
    exact = differentiable_codes(sae, x, acts, indices)
    assert torch.equal(exact[acts == 0], torch.zeros(7, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(losses(sae.combine(exact, indices)), sae.weight)
    assert bool(gradient.isfinite().all())
    touched = gradient.abs().sum(dim=1).nonzero().flatten().tolist()
    assert touched == [0, 1, 2]


def test_an_encoder_that_is_no_pursuit_is_refused():
    sae = BUILD["mask"](encoder="tied")
    x = torch.ones(2, M)
    with pytest.raises(InvalidArgument, match=r"sae = with the encoder 'tied'.*pursuit"):
        differentiable_codes(sae, x, *sae.code(x))
