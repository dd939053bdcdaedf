from dataclasses import replace

import numpy as np
import pytest
import torch
from support.streams import MemoryStream

from expander_theory import InvalidArgument, InvalidFile, save_mask, uniform_mask
from expander_theory.results.files import read_arrays, write_arrays
from sae_bridge.sae.loading import load_sae
from sae_bridge.sae.sae import ExpanderSAE
from sae_bridge.training._supports import WINDOW
from sae_bridge.training.parallel import World
from sae_bridge.training.recipe import Training
from sae_bridge.training.train import train
from sae_bridge.training.training_run import CHECKPOINT, VERSION, TrainingRun

HOW = Training(d=4, n=64, k=4, steps=60, supports="momentum", regrow_every=3, dead_after=1000)
CRITERIA = ("gradient", "momentum", "random")


def training_run(how=HOW, stream=None):
    return TrainingRun(how, (stream or MemoryStream()).sample(4096), torch.device("cpu"), World(), how.identity())


class Planted(MemoryStream):
    """Tokens of three of 40 orthogonal-ish atoms on 3 rows each: supports that can be found."""

    def __init__(self):
        super().__init__(batch_size=128)
        generator = torch.Generator().manual_seed(5)
        rows = torch.from_numpy(uniform_mask(32, 40, 3, seed=5).rows.astype(np.int64))
        values = torch.randn(40, 3, generator=generator).sign() * (0.5 + torch.rand(40, 3, generator=generator))
        self.atoms = torch.nn.functional.normalize(torch.zeros(40, 32).scatter_(1, rows, values), dim=1)
        code = (1 + torch.rand(4096, 40, generator=generator)) * (torch.rand(4096, 40, generator=generator) < 3 / 40)
        self.data = code @ self.atoms


@pytest.mark.parametrize(("criterion", "share"), [("gradient", 0.75), ("momentum", 0.75), ("random", 0.95)])
def test_learned_supports_find_planted_ones_which_a_fixed_mask_cannot_have(criterion, share):
    stream = Planted()

    def fvu(supports):
        how = Training(
            d=3, n=40, k=4, steps=150, encoder="omp", learning_rate=0.02, supports=supports, revival="none", seed=1
        )
        one = training_run(how, stream)
        for step in range(how.steps):
            one.advance(stream.batch(step))
        return one.numbers()["fvu"]

    assert fvu(criterion) < share * fvu("fixed")


@pytest.mark.parametrize("encoder", ["tied", "random", "omp"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_masks_stay_masks_of_the_same_degree_and_what_moves_takes_its_state_along(criterion, encoder):
    how = replace(HOW, supports=criterion, encoder=encoder)
    one = training_run(how)
    seen = []
    for step in range(how.steps):
        rows, values = one.sae.rows.clone(), one.sae.weight.detach().clone()
        one.advance(MemoryStream().batch(step))
        moved = not torch.equal(rows, one.sae.rows)
        assert moved == ((step + 1) % 3 == 0 and step < 54), step
        mask = one.sae.mask  # a Mask checks itself
        assert (mask.n, mask.d) == (64, 4)
        torch.testing.assert_close(one.sae.weight.detach().norm(dim=1), torch.ones(64))
        if moved:
            seen.append(step)
            kept = (rows[:, :, None] == one.sae.rows[:, None, :]).any(dim=1)  # new places, old rows
            assert not one.sae.weight[~kept].any(), "what is taken starts at zero"
            if encoder != "tied" and one.sae.encoder is not None:
                assert not one.sae.encoder[~kept].any()
            for moment in ("exp_avg", "exp_avg_sq"):
                state = one.optimiser.state[one.sae.weight][moment]
                assert not state[~kept].any()
                assert state[kept].any()
            assert int((~kept).sum(dim=1).max()) <= 3
            largest = values.abs().argmax(dim=1, keepdim=True)
            assert (rows.gather(1, largest) == one.sae.rows).any(dim=1).all(), "the largest value stays"
    assert len(seen) == 18


def test_rows_are_exchanged_where_the_gradient_of_all_places_is_largest():
    """One move by one batch, beside C^T R formed in full."""
    one = training_run(replace(HOW, supports="gradient", regrow_every=1, regrow_share=0.5))
    sae, h = one.sae, MemoryStream().batch(0)
    rows = sae.rows.clone()
    with torch.no_grad():
        x = sae.centred(h)
        acts, indices = sae.code(x)
        codes = torch.zeros(len(h), 64).scatter_(1, indices, acts)
        gradient = codes.T @ (sae.combine(acts, indices) - x)
    one.advance(h)
    off = gradient.abs().scatter(1, rows.long(), -1)
    for j in range(64):
        taken = sorted(set(sae.rows[j].tolist()) - set(rows[j].tolist()))
        expected = sorted(off[j].topk(2).indices.tolist()) if gradient[j].any() else []
        assert taken == expected, j


def test_momentum_looks_back_on_a_window_of_batches():
    one = training_run(replace(HOW, steps=4 * WINDOW, regrow_every=5))
    for step in range(4 * WINDOW):
        one.advance(MemoryStream().batch(step))
        assert len(one.supports.seen) == (min(step + 1, WINDOW) if step < 3.6 * WINDOW else 0)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("stop", [2, 14, 54, 57])
def test_a_checkpoint_between_two_moves_goes_on_to_the_same_bits(tmp_path, criterion, stop):
    how = replace(HOW, supports=criterion, regrow_every=5)
    whole, first, second = (training_run(how) for _ in range(3))
    for step in range(how.steps):
        whole.advance(MemoryStream().batch(step))
        if step < stop:
            first.advance(MemoryStream().batch(step))
    first.save_checkpoint(tmp_path / "checkpoint.safetensors")
    second.load_checkpoint(tmp_path / "checkpoint.safetensors")
    for step in range(stop, how.steps):
        second.advance(MemoryStream().batch(step))
    for name, value in whole.sae.state_dict().items():
        assert torch.equal(value, second.sae.state_dict()[name]), name


@pytest.mark.parametrize("threads", [1, 3])
def test_learned_supports_do_not_depend_on_the_number_of_threads(threads):
    reference = training_run()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        other = training_run()
        for step in range(20):
            other.advance(MemoryStream().batch(step))
    finally:
        torch.set_num_threads(before)
    for step in range(20):
        reference.advance(MemoryStream().batch(step))
    assert torch.equal(reference.sae.rows, other.sae.rows)


def test_a_learned_mask_is_saved_with_the_sae(tmp_path):
    sae = train({".": HOW}, MemoryStream(), tmp_path, progress=False)["."]
    loaded, fields = load_sae(tmp_path)
    assert isinstance(loaded, ExpanderSAE)
    assert loaded.mask == sae.mask != uniform_mask(32, 64, 4, seed=0)
    assert fields["supports"] == "momentum"
    h = MemoryStream().batch(0)
    assert torch.equal(loaded(h)[0], sae(h)[0])


FORGERIES = {
    "rows": (lambda a: a["rows"].__setitem__(0, 10**6), "must lie in 0..31"),
    "codes lost": (lambda a: a.pop("supports.acts"), "supports = "),
    "codes of another shape": (lambda a: a.update({"supports.acts": a["supports.acts"][:5]}), "must be 7 batches"),
    "a feature that is none": (lambda a: a["supports.indices"].__setitem__(0, 64), "of features that there are"),
    "NaN": (lambda a: a["supports.residual"].__setitem__(0, np.nan), "must be finite"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_checkpoints_are_refused(tmp_path, name):
    change, message = FORGERIES[name]
    one, path = training_run(), tmp_path / "checkpoint.safetensors"
    for step in range(7):
        one.advance(MemoryStream().batch(step))
    one.save_checkpoint(path)
    fields, arrays = read_arrays(path, CHECKPOINT, VERSION)
    change(arrays)
    write_arrays(path, CHECKPOINT, VERSION, fields, arrays)
    with pytest.raises(InvalidFile, match=message):
        training_run().load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d": None}, "supports = 'momentum': must be 'fixed' for a dense SAE"),
        ({"mean_degree": 3.0, "revival": "none"}, "supports = 'momentum': must be 'fixed'"),
        ({"supports": "magic"}, "supports"),
        ({"regrow_every": 0}, "regrow_every = 0: must be at least 1"),
        ({"regrow_share": 1.0}, r"regrow_share = 1.0: must be in \(0, 1\)"),
        ({"regrow_until": 0.0}, r"regrow_until = 0.0: must be in \(0, 1\]"),
    ],
)
def test_recipes_that_cannot_learn_supports_are_named(change, message):
    with pytest.raises(InvalidArgument, match=message):
        replace(HOW, **change)


@pytest.mark.parametrize("d", [1, 32])
def test_columns_without_a_row_to_give_or_to_take_are_refused(d):
    with pytest.raises(InvalidArgument, match=f"d = {d}: must be between 2 and m - 1 = 31 where supports are learned"):
        training_run(replace(HOW, d=d))


def test_a_saved_mask_can_be_where_learning_starts(tmp_path):
    save_mask(uniform_mask(32, 64, 4, seed=9), tmp_path / "mask")
    one = training_run(replace(HOW, mask=tmp_path / "mask"))
    assert one.sae.mask == uniform_mask(32, 64, 4, seed=9)
    for step in range(3):
        one.advance(MemoryStream().batch(step))
    assert one.sae.mask != uniform_mask(32, 64, 4, seed=9)


def test_the_identity_of_older_recipes_stays():
    fixed = replace(HOW, supports="fixed").identity()
    assert not {"supports", "regrow_every", "regrow_share", "regrow_until"} & fixed.keys()
    assert HOW.identity()["regrow_every"] == 3
