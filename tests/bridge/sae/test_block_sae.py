"""SAEs with dense columns beside those of a mask: codes, gradients, training, files, exports, what they refuse."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.stores import random_store
from support.streams import MemoryStream

from expander_theory import BlockDictionary, InvalidArgument, InvalidFile, omp, save_mask, uniform_mask
from sae_bridge.codes.coder import METHODS, Coder
from sae_bridge.commands.train import Train
from sae_bridge.evaluation.collapse import collapse, effective_degrees, feature_energy, weighted_effective_degree
from sae_bridge.evaluation.features import collisions
from sae_bridge.evaluation.nulls import Nulls
from sae_bridge.evaluation.recovery import untrained
from sae_bridge.interop import export_native, export_saelens, export_sparsify, load_any
from sae_bridge.pursuits import TensorDictionary, torch_omp
from sae_bridge.sae import BlockSAE, ExpanderSAE, TopKSAE, load_sae, pruned, storage, untrained_null
from sae_bridge.training._revival import AUX_WEIGHT, AuxK, Batch, Resample
from sae_bridge.training.parallel import World
from sae_bridge.training.recipe import Training
from sae_bridge.training.train import train
from sae_bridge.training.training_run import TrainingRun

M, N, R, D, K = 32, 64, 5, 4, 6
MASK = uniform_mask(M, N - R, D, seed=0)
ENCODERS = ("tied", "omp", "omp_nonnegative")
HOW = Training(d=D, n=N, k=4, steps=40, dead_after=1000, dense_columns=3)


def make(encoder="tied", dtype=torch.float64, **how):
    sae = BlockSAE(MASK, R, K, encoder=encoder, seed=1, **how)
    sae.fit_normalisation(torch.linspace(-1, 1, M), 30.0)
    sae = sae.to(dtype).eval()
    sae.normalise_columns()
    return sae


def tokens(count=40, seed=0):
    return torch.randn(count, M, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def columns_of(sae):
    """(n, m), differentiable."""
    spread = sae.weight.new_zeros(len(sae.weight), M).scatter(1, sae.rows.long(), sae.weight)
    return torch.cat([sae.dense, spread])


def full(acts, indices, n=N):
    return torch.zeros(len(acts), n, dtype=acts.dtype).scatter_add(1, indices, acts)


def test_it_starts_at_the_dense_start_at_its_places():
    sae, dense, plain = make(dtype=torch.float32), TopKSAE(M, N, K, seed=1), ExpanderSAE(MASK, K, seed=1)
    torch.testing.assert_close(sae.dense.data, dense.weight.data[:R])
    kept = dense.weight.data[R:].gather(1, sae.rows.long())
    kept = kept / kept.norm(dim=1, keepdim=True)
    torch.testing.assert_close(sae.weight.data, kept)
    assert not torch.allclose(plain.weight.data, kept)
    assert (sae.n, sae.architecture, sae.decoder_values) == (N, "block", R * M + (N - R) * D)


@pytest.mark.parametrize("selection", ["signed", "magnitude"])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_tied_code_is_the_largest_scores_of_all_columns(selection, steps):
    sae, h = make(selection=selection, pursuit_steps=steps), tokens()
    with torch.no_grad():
        sae.b_enc.normal_(std=0.1, generator=torch.Generator().manual_seed(2))
    left, expected, w = sae.centred(h).detach(), 0, columns_of(sae).detach()
    for _ in range(steps):
        scores = left @ w.T + sae.b_enc.detach()
        places = (scores.abs() if selection == "magnitude" else scores).topk(K // steps, dim=1).indices
        kept = scores.gather(1, places)
        code = full(kept if selection == "magnitude" else kept.relu(), places)
        left, expected = left - code @ w, expected + code
    acts, indices = sae.encode(h)
    torch.testing.assert_close(full(acts, indices).detach(), expected)
    assert bool(((acts != 0) & (indices < R)).any())
    out = (expected @ w + sae.b_dec) / sae.scale
    torch.testing.assert_close(sae(h)[0].detach(), out.detach())


@pytest.mark.parametrize("encoder", ENCODERS[1:])
def test_the_pursuit_is_omp_on_the_decoder(encoder):
    sae, h = make(encoder), tokens()
    how = "magnitude" if encoder == "omp" else "nonnegative"
    w = sae.dictionary()
    assert isinstance(w, BlockDictionary)
    np.testing.assert_allclose(w.to_dense().T, columns_of(sae).detach(), atol=1e-12)
    expected = omp(w, sae.centred(h).detach().numpy(), K, selection=how)
    acts, indices = sae.encode(h)
    np.testing.assert_allclose(acts, expected.coefficients, atol=1e-9)
    assert np.array_equal(indices, np.maximum(expected.indices, 0))
    with torch.no_grad():  # and follows a decoder that changes, in either part
        sae.dense.neg_()
    if how == "magnitude":
        torch.testing.assert_close(sae.encode(h)[0], torch.where(indices < R, -acts, acts))
    on_device = TensorDictionary.trusted(M, sae.weight.detach(), sae.rows).after(sae.dense.detach())
    found = torch_omp(on_device, sae.centred(h).detach(), K, selection=how)
    assert torch.equal(found.indices.clamp_min(0), sae.encode(h)[1])
    assert torch.equal(on_device.to_dense(), columns_of(sae).detach())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_gradient_is_that_of_the_loss(encoder):
    """Against finite differences; a pursuit's codes follow the decoder in these, and need not in the gradient."""
    sae, h = make(encoder), tokens()

    def loss():
        return (h - sae(h)[0]).square().sum()

    loss().backward()
    for name in ("weight", "dense", "b_dec"):
        parameter = getattr(sae, name)
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        step, ends = 1e-6, []
        with torch.no_grad():
            for sign in (1, -2):
                parameter += sign * step * direction
                ends.append(float(loss()))
            parameter += step * direction
        slope = float((parameter.grad * direction).sum())
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-5), name


@pytest.mark.parametrize("encoder", ENCODERS)
def test_it_is_the_same_after_saving_and_loading(tmp_path, encoder):
    sae, h = make(encoder, torch.float32), tokens().float()
    sae.save(tmp_path, {"steps": 1})
    again, fields = load_sae(tmp_path)
    assert type(again) is BlockSAE
    assert fields == {"steps": 1}
    assert sae.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in sae.state_dict().items())
    for own, other in zip(sae.encode(h), again.encode(h), strict=True):
        assert torch.equal(own, other)
    assert again.mask.sha256 == MASK.sha256


def test_a_damaged_file_is_refused(tmp_path):
    make(dtype=torch.float32).save(tmp_path, {})
    about = json.loads((tmp_path / "cfg.json").read_text())
    for change in ({"dense_columns": 6}, {"architecture": "expander"}):
        (tmp_path / "cfg.json").write_text(json.dumps({**about, **change}))
        with pytest.raises(InvalidFile, match="altered"):
            load_sae(tmp_path)


def test_what_it_takes_to_store():
    found = storage(make())
    sparse, bits = (N - R) * D, math.ceil(math.log2(M))
    parameters = R * M + sparse + N + M
    assert found["parameters"] == parameters
    assert found["bytes_packed"] == 2 * parameters + math.ceil(sparse * bits / 8)
    assert found["bytes_float32"] == 4 * (parameters + sparse)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_training_learns_and_resumes_to_the_bit(tmp_path, encoder):
    class Interrupted(MemoryStream):
        def batch(self, step):
            if step == 37:
                raise KeyboardInterrupt
            return super().batch(step)

    how = replace(HOW, encoder=encoder)

    def run(folder, stream=None, how=how):
        return train({".": how}, stream or MemoryStream(), folder, progress=False, checkpoint_every=15)["."]

    whole = run(tmp_path / "a").state_dict()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", Interrupted())
    stream = MemoryStream()
    again = run(tmp_path / "b", stream).state_dict()
    assert stream.asked == list(range(30, 40))
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    h = MemoryStream().sample(2048)
    first = run(tmp_path / "c", how=replace(how, steps=1))
    errors = [float((h - sae(h)[0]).detach().square().sum()) for sae in (load_sae(tmp_path / "b")[0], first)]
    assert errors[0] < 0.97 * errors[1]
    for name in ("weight", "dense"):
        assert not torch.allclose(getattr(first, name), whole[name], atol=1e-2)


def test_each_part_has_its_own_rate_and_stays_on_its_sphere():
    one = TrainingRun(replace(HOW, clip=None), MemoryStream().sample(4096), torch.device("cpu"), World(), {})
    rates = {id(p): g["peak"] for g in one.optimiser.param_groups for p in g["params"]}
    assert rates[id(one.sae.weight)] == pytest.approx(math.sqrt(M / D) * HOW.learning_rate)
    assert rates[id(one.sae.dense)] == HOW.learning_rate
    for step in range(5):
        before = [part.detach().clone() for part in one.sae.decoder_parts]
        one.advance(MemoryStream().batch(step))
        for part, old in zip(one.sae.decoder_parts, before, strict=True):
            assert (part.grad * old).sum(dim=1).abs().max() < 1e-5
            assert part.grad.abs().max() > 0
            torch.testing.assert_close(part.detach().norm(dim=1), torch.ones(len(part)))
    numbers = one.numbers()
    assert numbers["effective_degree"] == pytest.approx(
        weighted_effective_degree((columns_of(one.sae),), feature_energy(*one.codes, one.sae.n)), rel=1e-5
    )


def test_dead_features_of_both_parts_learn_from_the_residual():
    sae = make()
    auxk, x = AuxK(sae, 1000), sae.centred(tokens()).detach()
    dead = torch.tensor([1, 4, 7, 20, 40, 63])
    auxk.counts[dead] = 1000
    acts, indices = sae.code(x)
    residual = sae.combine(acts, indices) - x
    found = auxk.loss(sae, x, residual, World())
    w = columns_of(sae)[dead]
    code = (x @ w.T).relu()  # k_aux is more than there are
    expected = (residual.detach() + code @ w).square().sum() / residual.detach().square().sum()
    torch.testing.assert_close(found, AUX_WEIGHT * expected)
    found.backward()
    for features, part, first in ((dead[dead < R], sae.dense, 0), (dead[dead >= R], sae.weight, R)):
        moved = part.grad.abs().amax(dim=1).nonzero().flatten() + first
        assert torch.equal(moved, features)


def test_resampling_aims_features_of_both_parts_at_residuals():
    one = TrainingRun(replace(HOW, revival="resample"), MemoryStream().sample(4096), torch.device("cpu"), World(), {})
    one.advance(MemoryStream().batch(0))
    sae, revival = one.sae, Resample(one.sae, 0)
    revival.counts[:] = 100
    dead = torch.tensor([1, 10, 60])
    revival.counts[dead] = 0
    x = torch.randn(1, M, generator=torch.Generator().manual_seed(3)).repeat(4, 1)
    nothing = torch.zeros(4, 1), torch.zeros(4, 1, dtype=torch.int64)
    before = columns_of(sae).detach().clone()
    revival.after_step(sae, one.optimiser, 999, Batch(x, *nothing, -x), World())
    after = columns_of(sae).detach()
    expected = torch.where(columns_of(sae).detach()[dead] != 0, x[0], 0)
    torch.testing.assert_close(after[dead], expected / expected.norm(dim=1, keepdim=True))
    assert (after != before).any(dim=1).nonzero().flatten().tolist() == dead.tolist()
    assert not one.optimiser.state[sae.dense]["exp_avg"][1].any()
    assert one.optimiser.state[sae.dense]["exp_avg"][0].any()
    assert not one.optimiser.state[sae.weight]["exp_avg"][10 - 3].any()


def test_recipes_without_and_with_nothing_but_dense_columns_are_the_other_kinds(tmp_path):
    none, some, whole = (replace(HOW, dense_columns=r) for r in (0, 3, N))
    assert "dense_columns" not in none.identity()
    assert some.identity()["dense_columns"] == 3
    sae = none.build(M)
    assert type(sae) is ExpanderSAE
    assert all(map(torch.equal, sae.state_dict().values(), Training(d=D, n=N, k=4).build(M).state_dict().values()))
    assert (type(some.build(M)), some.build(M).n, some.build(M).mask.n) == (BlockSAE, N, N - 3)
    assert type(whole.build(M)) is TopKSAE
    save_mask(MASK, tmp_path / "mask")
    given = replace(some, mask=tmp_path / "mask", d=None)
    assert given.build(M).n == given.identity()["n"] == 3 + MASK.n


def test_the_mask_can_be_replaced():
    sae, other = make(), uniform_mask(M, N - R, D, seed=9)
    sae.rows.copy_(torch.from_numpy(other.rows.copy()))
    assert np.array_equal(sae.mask.rows, other.rows)
    np.testing.assert_allclose(sae.dictionary().to_dense().T, columns_of(sae).detach(), atol=1e-12)


@pytest.mark.parametrize("export", [export_saelens, lambda *a: export_sparsify(*a, hookpoint="h.0")])
def test_exports_are_densified(tmp_path, export):
    sae, h = make(), tokens()
    where = export(sae, tmp_path / "x") or tmp_path / "x"
    again, _ = load_any(where)
    torch.testing.assert_close(again(h)[0], sae(h)[0])
    assert again.dictionary().to_dense().shape == (M, N)
    with pytest.raises(InvalidArgument, match="sae = BlockSAE: must have no dense columns"):
        export_native(sae, tmp_path / "y")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_codes_on_its_decoder(method):
    sae, h = make(), tokens()
    coder = Coder(sae)
    acts, indices = coder(h, method)
    found = (h - sae.decode(acts, indices)).detach().square().sum()
    assert found < h.square().sum()
    dense = TopKSAE(M, N, K).double()
    with torch.no_grad():
        dense.weight.copy_(columns_of(sae))
        for name in ("b_dec", "scale"):
            getattr(dense, name).data.copy_(getattr(sae, name))
    expected = dense.eval().decode(*Coder(dense)(h, method))
    torch.testing.assert_close(sae.decode(acts, indices), expected, atol=1e-7, rtol=1e-6)


def test_what_is_measured_of_it():
    store, sae = random_store(m=8), BlockSAE(uniform_mask(8, 10, 3, seed=0), 2, 3, encoder="omp").eval()
    found = collapse(sae, store)
    degrees = effective_degrees(torch.from_numpy(sae.dictionary().to_dense().T))
    assert found.effective_degree_of_columns == pytest.approx(float(degrees.mean()))
    assert untrained(sae, 0).sha256 == sae.dictionary().sha256
    (null,) = Nulls(store).at(3, ("untrained",), [(2, sae.mask)])
    assert (null.name, type(null.build())) == ("null-untrained-r2-d3-n12-k3", BlockSAE)
    with pytest.raises(InvalidArgument, match="sae = with dense columns: must be on a mask alone"):
        collisions(sae, store)


def test_the_command_makes_recipes_of_blocks(tmp_path):
    command = Train(tmp_path, tmp_path, d=(2, 4), dense=True, n=8, k=2, dense_columns=3)
    assert {name: how.dense_columns for name, how in command.runs().items()} == {
        "dense-seed0": 0, "d2-seed0": 3, "d4-seed0": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: replace(HOW, dense_columns=65), "dense_columns = 65: must be between 0 and n = 64"),
        (lambda: replace(HOW, dense_columns=-1), "dense_columns = -1: must be at least 0"),
        (lambda: replace(HOW, d=None), "dense_columns = 3: must be 0 for a dense SAE"),
        (lambda: replace(HOW, encoder="warm"), "encoder = 'warm': must be tied or a pursuit"),
        (lambda: BlockSAE(MASK, 0, 3), "dense_columns = 0: must be at least 1"),
        (lambda: BlockSAE(MASK, 2, 3, encoder="random"), "encoder = 'random': must be"),
        (lambda: BlockSAE(MASK, 2, 62), "k = 62: must be between 1 and n = 61"),
        (lambda: make().decode(torch.ones(1, 1).double(), torch.tensor([[N]])), "indices = 64: must lie in 0..63"),
        (lambda: make().decode(torch.ones(1, 1).double(), torch.tensor([[-1]])), "indices = -1: must lie in 0..63"),
        (lambda: pruned(make(), 2), "sae = on a mask: must be dense"),
        (lambda: untrained_null(torch.zeros(3), (1, MASK), 1), "columns = mask of m = 32 rows: must have m = 3"),
    ],
)
def test_bad_input_is_named(make, says):
    with pytest.raises(InvalidArgument, match=says):
        make()
