"""Losses of JumpReLU, Gated and Matryoshka SAEs against the papers' formulas on (B, n) codes, and their training."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from support.stores import MemoryStore
from support.streams import MemoryStream

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.results.files import read_arrays, write_arrays
from sae_bridge.evaluation import active_features, reconstruction
from sae_bridge.sae import ExpanderSAE, TopKSAE, load_sae
from sae_bridge.training import Training, TrainingRun, World, train
from sae_bridge.training.objectives import objective
from sae_bridge.training.objectives._gated import DAMPING, FIRST_WEIGHT, GAIN
from sae_bridge.training.objectives._jumprelu import TARGET_WEIGHT
from sae_bridge.training.training_run import CHECKPOINT, VERSION

HOW = Training(d=4, n=64, k=4, steps=40, dead_after=500)
KINDS = {
    "jumprelu": replace(HOW, activation="jumprelu"),
    "moving": replace(HOW, activation="jumprelu", supports="momentum", regrow_every=4),
    "gated": replace(HOW, activation="gated"),
    "matryoshka": replace(HOW, activation="batch_topk", groups=(8, 24)),
}
WORLD = World()


def training_run(how, world=WORLD):
    return TrainingRun(how, MemoryStream().sample(4096), torch.device("cpu"), world, how.identity())


def outcome(how, step=0, world=WORLD):
    """The objective on a batch, its SAE, x, decoder (n, m) and codes (B, n)."""
    one = training_run(how)
    h = MemoryStream().batch(0)
    x = one.sae.centred(h)
    found = objective(how, one.sae, world)(x, x, step)
    rows = torch.arange(32).expand(64, 32) if one.sae.rows is None else one.sae.rows.long()
    w = torch.zeros(64, 32).scatter(1, rows, one.sae.weight)
    code = torch.zeros(128, 64).scatter_add(1, found.indices, found.acts)
    return found, one.sae, x, w, code


def gradients(loss, sae):
    found = torch.autograd.grad(loss, list(sae.parameters()), retain_graph=True, allow_unused=True)
    named = zip(sae.named_parameters(), found, strict=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in named}


def assert_same(found, expected, but=()):
    for name, gradient in found.items():
        if name not in but:
            torch.testing.assert_close(gradient, expected[name], msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("d", [4, None])
@pytest.mark.parametrize("weight", [None, 0.02])
def test_jumprelu_adds_the_penalty_on_l0(d, weight):
    how = replace(KINDS["jumprelu"], d=d, sparsity_weight=weight, k=6)
    found, sae, x, w, code = outcome(how)
    error = (code @ w - x).square().sum(dim=1).mean()
    torch.testing.assert_close(found.error, error)
    active = (code > 0).sum(dim=1).double().mean().float()
    with torch.no_grad():
        sae.k = 5  # other than the mean number
    again = objective(how, sae, WORLD)(x, x, 0)
    penalty = TARGET_WEIGHT * (active / 5 - 1) ** 2 if weight is None else weight * active
    assert penalty > 0.01
    torch.testing.assert_close(again.loss, error / 32 + penalty)

    # The derivative of a count in theta is minus its density in the window, here times the penalty's in the count.
    slope = 2 * TARGET_WEIGHT * (active / 5 - 1) / 5 if weight is None else weight
    epsilon = 1e-3 * math.sqrt(32)
    z, theta = x @ w.T + sae.b_enc, sae.thresholds
    window = ((z - theta).abs() < epsilon / 2).float()
    towards = 2 * (code @ w - x) @ w.T / 32
    expected = (-(slope + theta * towards) * window / epsilon).sum(dim=0) / 128 * theta
    assert window.any()
    whole = gradients(again.loss, sae)
    torch.testing.assert_close(whole["log_threshold"], expected.detach())
    assert_same(whole, gradients(error / 32, sae), but=("log_threshold",))


def test_the_penalty_is_warmed_up_and_of_all_processes():
    how = replace(KINDS["jumprelu"], sparsity_warm_up=0.5)
    found, sae, x, _, _ = outcome(how)
    assert [how.sparsity_share_at(step) for step in (0, 9, 19, 30)] == [0.05, 0.5, 1, 1]
    assert replace(how, sparsity_warm_up=0).sparsity_share_at(0) == 1
    other = SimpleNamespace(mean=lambda count: count + 3)  # others have more active features
    active = float((found.acts > 0).sum()) / 128
    shared = objective(how, sae, other)(x, x, 9)
    excess = (active + 3) / 4 - 1
    torch.testing.assert_close(
        float((shared.loss - shared.error / 32).detach()), 0.5 * TARGET_WEIGHT * excess**2, rtol=1e-4, atol=0
    )
    alone = objective(replace(how, sparsity_weight=2 * TARGET_WEIGHT * excess / 4), sae, WORLD)(x, x, 9)
    assert_same(gradients(shared.loss, sae), gradients(alone.loss, sae))


@pytest.mark.parametrize("d", [4, None])
def test_gated_adds_the_l1_of_its_gate_and_a_reconstruction_with_a_frozen_decoder(d):
    how = replace(KINDS["gated"], d=d, sparsity_weight=0.3)
    one = training_run(how)
    sae = one.sae
    with torch.no_grad():
        sae.r_mag.normal_(0, 0.2, generator=torch.Generator().manual_seed(0))
        sae.b_mag.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
    x = sae.centred(MemoryStream().batch(0))
    found = one.objective(x, x, 0)
    rows = torch.arange(32).expand(64, 32) if sae.rows is None else sae.rows.long()
    w = torch.zeros(64, 32).scatter(1, rows, sae.weight)
    gate = x @ w.T + sae.b_enc
    code = (gate > 0) * (sae.r_mag.exp() * (x @ w.T) + sae.b_mag).relu()
    error = (code @ w - x).square().sum() / 128
    by_gate = (gate.relu() @ w.detach() - x.detach()).square().sum() / 128
    expected = error / 32 + 0.3 * gate.relu().sum() / 128 / math.sqrt(32) + by_gate / 32
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.error, error)
    assert_same(gradients(found.loss, sae), gradients(expected, sae))


def test_the_weight_of_the_gate_follows_l0():
    one = training_run(KINDS["gated"]).objective
    assert one.weight == pytest.approx(FIRST_WEIGHT)
    one.after_step(torch.tensor(4 * math.exp(0.5)))
    assert one.weight == pytest.approx(FIRST_WEIGHT * math.exp((GAIN + DAMPING) * 0.5))
    one.after_step(torch.tensor(0.0))  # clipped
    assert one.weight == pytest.approx(FIRST_WEIGHT * math.exp(GAIN * 0.5 - GAIN - DAMPING))
    state = one.state()
    other = training_run(KINDS["gated"]).objective
    other.load(state)
    assert other.weight == one.weight
    for _ in range(10_000):
        one.after_step(torch.tensor(64.0))
    assert math.isfinite(one.weight)
    for name, value in (("objective.error", 1.5), ("objective.integral", 1e3)):
        with pytest.raises(InvalidArgument, match=name):
            other.load(state | {name: torch.tensor(value)})
    given = training_run(replace(KINDS["gated"], sparsity_weight=0.7)).objective
    given.after_step(torch.tensor(60.0))
    assert given.weight == 0.7


@pytest.mark.parametrize("how", [KINDS["matryoshka"], replace(HOW, d=None, groups=())], ids=["batch", "dense-topk"])
def test_matryoshka_is_the_mean_error_of_all_prefixes(how, monkeypatch):
    decoded = []
    combine = ExpanderSAE.combine
    for kind in (ExpanderSAE, TopKSAE):
        monkeypatch.setattr(
            kind, "combine", lambda s, a, i, **how: decoded.append(a.shape[1]) or combine(s, a, i, **how)
        )
    found, sae, x, w, code = outcome(how)
    sizes = {"batch_topk": (8, 24, 64), "topk": (2, 6, 14, 30, 64)}[how.activation]
    assert sae.groups == sizes
    errors = [(code[:, :size] @ w[:size] - x).square().sum() / 128 for size in sizes]
    torch.testing.assert_close(found.loss, sum(errors) / len(errors) / 32)
    torch.testing.assert_close(found.error, errors[-1])
    torch.testing.assert_close(found.residual, code @ w - x)
    assert_same(gradients(found.loss, sae), gradients(sum(errors) / len(errors) / 32, sae))
    counts = [(code[:, a:b] != 0).sum(dim=1).max() for a, b in zip((0, *sizes), sizes, strict=False)]
    assert decoded == [max(1, int(count)) for count in counts], "every feature is decoded once"


def known_matryoshka():
    sae = TopKSAE(2, 2, 2, groups=(1, 2))
    with torch.no_grad():
        sae.weight.copy_(torch.eye(2))
    return sae


def test_matryoshka_by_hand():
    """x = (3, 4), unit vectors: without the second feature 16 is left, with it nothing: (16 + 0) / 2 over m = 2."""
    x = torch.tensor([[3.0, 4.0]])
    assert float(objective(HOW, known_matryoshka(), WORLD)(x, x, 0).loss.detach()) == 4


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        *(("jumprelu", how) for how in ({}, {"d": None}, {"encoder": "warm"}, {"dense_columns": 6})),
        *(("gated", how) for how in ({}, {"d": None}, {"encoder": "random"}, {"dense_columns": 6})),
        ("matryoshka", {}),
    ],
    ids=str,
)
def test_training_learns_at_the_asked_for_sparsity(kind, extra, tmp_path):
    how = replace(KINDS[kind], steps=200, **extra)
    before = training_run(how).sae.eval()
    sae = train({".": how}, MemoryStream(), tmp_path, progress=False)["."]
    data = MemoryStream().data.reshape(32, 128, 32)
    store = MemoryStore({"train": data, "held_out": data})
    first, last = (reconstruction(one, store, training_tokens=0, progress=False) for one in (before, sae))
    assert last.fvu < 0.8 * first.fvu
    assert last.l0 == pytest.approx(4, abs=0.4)
    assert active_features(sae, store) == (4 if kind == "matryoshka" else round(last.l0))
    loaded, fields = load_sae(tmp_path)
    assert (loaded.activation, loaded.groups) == (how.activation, sae.groups)
    assert fields["activation"] == how.activation


class Interrupted(MemoryStream):
    """Stops like Ctrl-C when batch 27 is asked for."""

    def batch(self, step):
        if step == 27:
            raise KeyboardInterrupt
        return super().batch(step)


def test_interrupted_runs_resume_to_the_bit(tmp_path):
    whole = train(KINDS, MemoryStream(), tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        train(KINDS, Interrupted(), tmp_path / "cut", progress=False, checkpoint_every=11)
    resumed = train(KINDS, MemoryStream(), tmp_path / "cut", progress=False)
    for name, sae in whole.items():
        ours, theirs = sae.state_dict(), resumed[name].state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items()), name
    again = train(KINDS, MemoryStream(), tmp_path / "cut", progress=False)  # finished: only read
    assert again["matryoshka"].groups == (8, 24, 64)


def test_a_damaged_controller_is_refused(tmp_path):
    path, one = tmp_path / "checkpoint.safetensors", training_run(KINDS["gated"])
    one.advance(MemoryStream().batch(0))
    one.save_checkpoint(path)
    fields, arrays = read_arrays(path, CHECKPOINT, VERSION)
    for name, value in (("objective.error", 2.0), ("objective.integral", float("nan")), ("objective.integral", 1e3)):
        write_arrays(path, CHECKPOINT, VERSION, fields, {**arrays, name: arrays[name] * 0 + value})
        with pytest.raises(InvalidFile, match=f"damaged: .*{name}"):
            training_run(KINDS["gated"]).load_checkpoint(path)
    del arrays["objective.error"]
    write_arrays(path, CHECKPOINT, VERSION, fields, arrays)
    with pytest.raises(InvalidFile, match=r"lacks or adds objective.error"):
        training_run(KINDS["gated"]).load_checkpoint(path)


def test_auxk_and_learned_supports_work_with_thresholds():
    for kind in ("jumprelu", "gated"):
        one = training_run(replace(KINDS[kind], supports="momentum", regrow_every=2, dead_after=100))
        with torch.no_grad():
            if kind == "gated":
                one.sae.b_enc[:20] = -1e3
            else:
                one.sae.log_threshold[:20] = 7.0
        buried, rows = one.sae.weight[:20].detach().clone(), one.sae.rows.clone()
        for step in range(6):
            one.advance(MemoryStream().batch(step))
        assert one.dead.dead() >= 20
        assert (one.sae.weight[:20] != buried).any(dim=1).all(), "dead features are trained"
        assert not torch.equal(one.sae.rows, rows)


def test_identities_of_earlier_recipes_are_what_they_were():
    fields = {"sparsity_weight", "sparsity_warm_up", "bandwidth", "initial_threshold", "groups"}
    assert not fields & HOW.identity().keys()
    assert replace(HOW, groups=(8, 24), activation="batch_topk").identity()["groups"] == [8, 24]
    assert replace(KINDS["jumprelu"], bandwidth=0.01).identity()["bandwidth"] == 0.01
    names = [name for name, _ in training_run(HOW)._trained()]
    assert names == ["weight", "b_enc", "b_dec"]


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"activation": "relu"}, "activation"),
        ({"sparsity_weight": 0.1}, "sparsity_weight = 0.1: must be None for topk"),
        ({"initial_threshold": 0.1}, "initial_threshold = 0.1: must be None for topk"),
        ({"activation": "gated", "sparsity_weight": 0.0}, "sparsity_weight = 0.0: must be positive"),
        ({"activation": "gated", "sparsity_weight": math.inf}, "sparsity_weight"),
        ({"activation": "jumprelu", "initial_threshold": 0.0}, "initial_threshold = 0.0: must be positive"),
        ({"activation": "jumprelu", "bandwidth": 0.0}, "bandwidth = 0.0: must be positive"),
        ({"activation": "jumprelu", "sparsity_warm_up": 1.5}, "sparsity_warm_up"),
        ({"activation": "jumprelu", "revival": "resample"}, "revival = 'resample': must be 'auxk' or 'none'"),
        ({"activation": "jumprelu", "groups": (8,)}, "must be 'topk' or 'batch_topk' with groups"),
        ({"encoder": "omp", "groups": (8,)}, "encoder = 'omp': must be no pursuit with groups"),
        ({"groups": (8, 8)}, "groups"),
        ({"groups": (8, 65)}, "the last n = 64"),
        ({"groups": (0, 8)}, "groups"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(how, match):
    with pytest.raises(InvalidArgument, match=match):
        replace(HOW, **how)


def test_a_start_of_another_kind_is_refused_where_it_matters(tmp_path):
    training_run(KINDS["jumprelu"]).sae.save(tmp_path / "jump", {})
    training_run(HOW).sae.save(tmp_path / "topk", {})
    with pytest.raises(InvalidArgument, match="revival = 'resample'"):
        training_run(replace(HOW, start=tmp_path / "jump", revival="resample"))
    with pytest.raises(InvalidArgument, match=r"sparsity_weight = 0.1: must be None for topk"):
        training_run(replace(HOW, start=tmp_path / "topk", sparsity_weight=0.1))
    with pytest.raises(InvalidArgument, match="must be None with a start"):
        replace(KINDS["jumprelu"], start=tmp_path / "jump", initial_threshold=0.1)
    one = training_run(replace(HOW, start=tmp_path / "jump"))
    before = one.sae.log_threshold.detach().clone()
    assert before.std() == 0, "the thresholds are the saved ones"
    one.advance(MemoryStream().batch(0))
    assert one.measured["active"] > 0
