from dataclasses import replace

import numpy as np
import pytest
import torch

from expander_theory import Dictionary, InvalidArgument, InvalidFile, load_dictionary, polynomial_mask, save_mask
from expander_theory.ledger import read_ledger
from sae_bridge import train as module
from sae_bridge.sae import ExpanderSAE, TopKSAE, load_sae
from sae_bridge.train import Training, train

HOW = Training(d=4, n=64, k=4, steps=40, batch=128)


@pytest.fixture
def store(tiny_store):
    return tiny_store[1]


def run(store, folder, how=HOW):
    return train(store, how, folder, progress=False)


def state(sae):
    return {name: value.clone() for name, value in sae.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("how", [HOW, replace(HOW, d=None)], ids=["expander", "dense"])
def test_training_learns_and_writes_what_it_says(store, tmp_path, how):
    sae = run(store, tmp_path, replace(how, steps=300))
    losses = [record["fvu"] for record in read_ledger(tmp_path / "metrics.jsonl")[1]]
    assert losses[-1] < 0.85 * losses[0]
    assert type(sae) is (TopKSAE if how.d is None else ExpanderSAE)
    loaded, _ = load_sae(tmp_path / "sae.safetensors")
    assert same(state(loaded), state(sae))
    w = load_dictionary(tmp_path / "dictionary.safetensors")
    assert isinstance(w, Dictionary) == (how.d is not None)
    np.testing.assert_allclose(w.column_norms, 1)
    assert not (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("how", [HOW, replace(HOW, d=None)], ids=["expander", "dense"])
def test_a_seed_decides_everything_and_an_interrupted_run_resumes_exactly(store, tmp_path, how, monkeypatch):
    reference = state(run(store, tmp_path / "a", how))
    assert same(reference, state(run(store, tmp_path / "b", how)))
    assert not same(reference, state(run(store, tmp_path / "c", replace(how, seed=1))))

    monkeypatch.setattr(module, "_CHECKPOINT_EVERY", 15)
    steps = module._step

    def interrupted(*args):
        if args[-1] == 37:
            raise KeyboardInterrupt
        return steps(*args)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(store, tmp_path / "d", how)
    done = []
    monkeypatch.setattr(module, "_step", lambda *args: done.append(args[-1]) or steps(*args))
    assert same(reference, state(run(store, tmp_path / "d", how)))
    assert done == list(range(30, 40))
    metrics = [read_ledger(tmp_path / name / "metrics.jsonl") for name in "ad"]
    assert metrics[0] == metrics[1]


def test_a_finished_run_is_only_read(store, tmp_path, monkeypatch):
    reference = state(run(store, tmp_path))
    monkeypatch.setattr(module, "_step", lambda *_: pytest.fail("trained again"))
    assert same(reference, state(run(store, tmp_path)))


def test_every_architecture_sees_the_same_batches_in_the_same_order(store, tmp_path, monkeypatch):
    seen = {}
    steps = module._step

    def watch(sae, optimiser, how, h, step):
        seen.setdefault(type(sae).__name__, []).append(h.clone())
        return steps(sae, optimiser, how, h, step)

    monkeypatch.setattr(module, "_step", watch)
    run(store, tmp_path / "a")
    run(store, tmp_path / "b", replace(HOW, d=None))
    assert len(seen["ExpanderSAE"]) == len(seen["TopKSAE"]) == 40
    assert all(torch.equal(a, b) for a, b in zip(seen["ExpanderSAE"], seen["TopKSAE"], strict=True))


def test_training_starts_normalised_and_moves_along_the_sphere(store, tmp_path, monkeypatch):
    """At step 0 E||s h||^2 = m and b_dec = s E h; after each backward pass the gradient is tangent."""
    steps, norms = module._step, []

    def check(sae, optimiser, how, h, step):
        if step == 0:
            rows = store.rows("train")
            assert float((sae.scale * rows).square().sum(dim=1).mean()) == pytest.approx(32, rel=1e-4)
            torch.testing.assert_close(sae.b_dec.data, sae.scale * rows.mean(dim=0))
        before = sae.weight.detach().clone()
        loss = steps(sae, optimiser, how, h, step)
        radial = (sae.weight.grad * before).sum(dim=1).abs().max()
        assert radial < 1e-5
        norms.append(sae.weight.norm(dim=1))
        return loss

    monkeypatch.setattr(module, "_step", check)
    run(store, tmp_path)
    torch.testing.assert_close(torch.stack(norms), torch.ones(40, 64))


def test_the_seed_decides_the_order_of_the_batches():
    orders = [module._batch_rows(1000, replace(HOW, seed=seed), 3) for seed in (0, 1, 2**80)]
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_a_folder_of_other_things_is_refused(store, tmp_path):
    (tmp_path / "dictionary.safetensors").write_text("precious")
    with pytest.raises(InvalidFile, match="not empty"):
        run(store, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["dictionary.safetensors"]


def test_the_sae_of_another_run_is_not_adopted(store, tmp_path):
    run(store, tmp_path / "a")
    run(store, tmp_path / "b", replace(HOW, seed=1))
    (tmp_path / "a" / "sae.safetensors").write_bytes((tmp_path / "b" / "sae.safetensors").read_bytes())
    with pytest.raises(InvalidFile, match="the SAE of another run"):
        run(store, tmp_path / "a")


def test_each_pass_over_the_data_sees_every_token_once():
    how = replace(HOW, batch=10)
    rows = torch.cat([module._batch_rows(105, how, step) for step in range(10)])
    assert len(rows.unique()) == 100
    assert not torch.equal(module._batch_rows(105, how, 0), module._batch_rows(105, how, 10))


def test_the_rule_for_the_rate_keeps_the_relative_step(store):
    """sqrt(m / d) times the rate of the biases; dense is d = m."""
    for d, factor in ((4, (32 / 4) ** 0.5), (None, 1.0)):
        how = replace(HOW, d=d, learning_rate=2e-3)
        values, biases = module._optimiser(how.build(32), how).param_groups
        assert values["peak"] == pytest.approx(2e-3 * factor)
        assert biases["peak"] == 2e-3
        assert len(values["params"]) == 1
        assert len(biases["params"]) == 2
    shares = [HOW.rate_at(step) for step in range(40)]
    assert max(shares) == pytest.approx(1.0)
    assert shares[-1] < 0.05
    assert shares[0] < 1


def test_a_mask_from_a_file(store, tmp_path):
    save_mask(polynomial_mask(8, 4), tmp_path / "mask")
    sae = run(store, tmp_path / "a", replace(HOW, n=1, mask=tmp_path / "mask"))
    assert isinstance(sae, ExpanderSAE)
    assert (sae.n, sae.mask.d, sae.mask.sha256) == (64, 4, polynomial_mask(8, 4).sha256)
    save_mask(polynomial_mask(4, 4), tmp_path / "narrow")
    with pytest.raises(InvalidArgument, match="m = 16 rows, the activations have 32"):
        run(store, tmp_path / "b", replace(HOW, mask=tmp_path / "narrow"))


def test_another_run_in_the_same_folder_is_refused(store, tmp_path):
    run(store, tmp_path)
    with pytest.raises(InvalidFile, match="steps is 40 there and 41 here"):
        run(store, tmp_path, replace(HOW, steps=41))


def test_bad_arguments_are_named(store, tmp_path):
    with pytest.raises(InvalidArgument, match="k = 65"):
        run(store, tmp_path / "k", replace(HOW, k=65))
    changes = ({"n": 0}, {"k": 0}, {"steps": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"seed": -1})
    for change in changes:
        with pytest.raises(InvalidArgument, match=next(iter(change))):
            replace(HOW, **change)
    with pytest.raises(InvalidArgument, match="d = 33"):
        run(store, tmp_path / "x", replace(HOW, d=33))
