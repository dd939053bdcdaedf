from dataclasses import replace

import pytest
import torch
from support.streams import MemoryStream

from sae_bridge.training._revival import AUX_WEIGHT, AuxK, Batch, Resample, dead_features
from sae_bridge.training.parallel import World
from sae_bridge.training.recipe import Training
from sae_bridge.training.training_run import TrainingRun

HOW = Training(d=4, n=64, k=4, steps=400, dead_after=1000)
WORLD = World()


def training_run(how=HOW):
    return TrainingRun(how, MemoryStream().sample(4096), torch.device("cpu"), WORLD, how.identity())


def bury(one, features):
    """Features that never fire."""
    with torch.no_grad():
        one.sae.b_enc[features] = -1e3


@pytest.mark.parametrize("d", [4, None])
@pytest.mark.parametrize("encoder", ["tied", "warm"])
def test_the_auxiliary_loss_is_the_normalised_error_of_dead_features_alone(d, encoder):
    one = training_run(replace(HOW, d=d, encoder=encoder))
    sae, auxk = one.sae, AuxK(one.sae, 1000)
    assert auxk.k == 16
    dead = torch.arange(10, 40)
    auxk.counts[dead] = 1000
    with torch.no_grad():
        sae.b_dec.normal_(generator=torch.Generator().manual_seed(0))
    h = MemoryStream().batch(0)
    x = sae.centred(h)
    acts, indices = sae.code(x)
    residual = sae.combine(acts, indices) - x
    found = auxk.loss(sae, x, residual, WORLD)

    rows = torch.arange(32).expand(64, 32) if sae.rows is None else sae.rows.long()
    dense = torch.zeros(64, 32).scatter(1, rows, sae.weight.detach())[dead]
    error = sae.scale * h - sae.b_dec - sae.combine(acts, indices)  # s h - s h_hat: b_dec once
    scores = (sae.scale * h - sae.b_dec) @ dense.T
    values, places = scores.topk(16, dim=1)
    code = torch.zeros_like(scores).scatter(1, places, values.relu())
    expected = (error - code @ dense).square().sum() / error.square().sum()
    torch.testing.assert_close(found, AUX_WEIGHT * expected)

    found.backward()
    alive = torch.ones(64, dtype=torch.bool)
    alive[dead] = False
    for parameter in (sae.weight, sae.encoder, sae.b_enc):
        if parameter is not None:
            assert parameter.grad[dead].abs().max() > 0
            assert not parameter.grad[alive].any(), "living features are not moved"
    assert sae.b_dec.grad is None, "the target is detached, and b_dec is not part of the auxiliary reconstruction"


def test_no_auxiliary_loss_without_dead_features():
    one = training_run()
    x = torch.randn(8, 32)
    assert AuxK(one.sae, 1000).loss(one.sae, x, x, WORLD) is None


def test_auxk_counts_tokens_since_the_last_firing():
    one = training_run()
    auxk = AuxK(one.sae, 300)
    acts, indices = torch.tensor([[1.0, 0.0]]).repeat(128, 1), torch.tensor([[3, 5]]).repeat(128, 1)
    for _ in range(3):
        auxk.after_step(one.sae, one.optimiser, 0, Batch(torch.zeros(128, 32), acts, indices, acts), WORLD)
    assert auxk.counts[3] == 0
    assert (auxk.counts[torch.arange(64) != 3] == 384).all(), "a padded zero is no firing"
    assert auxk.dead() == 63


def test_auxk_revives_what_stays_dead_without_it():
    dead = {}
    for revival in ("auxk", "none"):
        one = training_run(replace(HOW, revival=revival, scale_rate=False))
        with torch.no_grad():
            one.sae.b_enc[:20] = -2
        for step in range(400):
            one.advance(MemoryStream().batch(step))
        dead[revival] = one.dead.dead()
    assert dead["none"] >= 10
    assert dead["auxk"] <= dead["none"] // 2


@pytest.mark.parametrize("d", [4, None])
def test_resampling_aims_dead_features_at_large_residuals(d):
    how = replace(HOW, d=d, encoder="warm", revival="resample")
    one = training_run(how)
    resample = Resample(one.sae, how.seed)
    assert isinstance(dead_features(one.sae, how), Resample)
    bury(one, slice(0, 10))
    for step in range(3):
        one.advance(MemoryStream().batch(step))
    x = torch.randn(6, 32)
    residual = torch.zeros(6, 32)
    residual[2] = -torch.linspace(1, 2, 32)  # the only token with an error
    resample.counts[10:] = 5
    before = one.sae.weight.detach().clone()
    batch = Batch(x, torch.zeros(6, 1), torch.zeros(6, 1, dtype=torch.int64), residual)
    resample.after_step(one.sae, one.optimiser, 998, batch, WORLD)
    assert torch.equal(one.sae.weight.detach(), before), "only every 1,000 steps"
    resample.after_step(one.sae, one.optimiser, 999, batch, WORLD)
    rows = torch.arange(32).expand(10, 32) if one.sae.rows is None else one.sae.rows[:10].long()
    aimed = torch.nn.functional.normalize(torch.linspace(1, 2, 32).expand(10, 32).gather(1, rows), dim=1)
    torch.testing.assert_close(one.sae.weight[:10].detach(), aimed)
    torch.testing.assert_close(one.sae.encoder[:10].detach(), 0.2 * aimed)
    assert not one.sae.b_enc[:10].any()
    assert torch.equal(one.sae.weight[10:].detach(), before[10:])
    for parameter in (one.sae.weight, one.sae.encoder, one.sae.b_enc):
        moments = one.optimiser.state[parameter]
        assert not moments["exp_avg"][:10].any()
        assert moments["exp_avg_sq"][10:].any()
    assert not resample.counts.any()
    assert resample.dead() == 10, "those before it, until the next step"
    resample.after_step(one.sae, one.optimiser, 1000, batch, WORLD)
    assert resample.dead() == 64
