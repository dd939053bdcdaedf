import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.streams import MemoryStream
from support.train_in_process import RUNS

from expander_theory import Dictionary, InvalidArgument, InvalidFile, load_dictionary, polynomial_mask, save_mask
from expander_theory.base.errors import MissingResource
from expander_theory.results.files import read_arrays, write_arrays
from expander_theory.results.ledger import read_ledger
from sae_bridge.sae.loading import load_sae
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE
from sae_bridge.training.parallel import World
from sae_bridge.training.recipe import Training
from sae_bridge.training.train import Diverged, train
from sae_bridge.training.training_run import CHECKPOINT, VERSION, TrainingRun

HOW = Training(d=4, n=64, k=4, steps=40, dead_after=1000)
HERE = Path(__file__).parents[2] / "support"


def run(folder, how=HOW, stream=None, **options):
    return train({".": how}, stream or MemoryStream(), folder, progress=False, **options)["."]


def state(sae):
    return {name: value.clone() for name, value in sae.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def training_run(how=HOW, stream=None):
    return TrainingRun(how, (stream or MemoryStream()).sample(4096), torch.device("cpu"), World(), how.identity())


@pytest.mark.parametrize(
    "how",
    [
        HOW,
        replace(HOW, d=None),
        replace(HOW, encoder="warm"),
        replace(HOW, encoder="random", d=None),
        replace(HOW, activation="batch_topk"),
        replace(HOW, selection="magnitude"),
        replace(HOW, precision="bfloat16", d=None),
        replace(HOW, centre="geometric_median", clip=None, revival="none", scale_rate=False),
    ],
    ids=["expander", "dense", "warm", "random", "batch", "magnitude", "bf16", "plain"],
)
def test_training_learns_and_writes_what_it_says(tmp_path, how):
    sae = run(tmp_path, replace(how, steps=300))
    records = read_ledger(tmp_path / "metrics.jsonl")[1]
    assert records[-1].fvu < 0.85 * records[0].fvu
    assert records[-1].step == 299
    assert records[-1].l0 == pytest.approx(4, abs=1)
    assert type(sae) is (TopKSAE if how.d is None else ExpanderSAE)
    loaded, fields = load_sae(tmp_path)
    assert fields["learning_rate"] == how.learning_rate
    assert same(state(loaded), state(sae))
    w = load_dictionary(tmp_path / "dictionary.safetensors")
    assert isinstance(w, Dictionary) == (how.d is not None)
    np.testing.assert_allclose(w.column_norms, 1)
    assert not (tmp_path / "checkpoint.safetensors").exists()


class Interrupted(MemoryStream):
    """Stops like Ctrl-C when batch 37 is asked for."""

    def batch(self, step):
        if step == 37:
            raise KeyboardInterrupt
        return super().batch(step)


@pytest.mark.parametrize("name", RUNS)
def test_a_seed_decides_everything_and_an_interrupted_run_resumes_exactly(tmp_path, name):
    how = replace(RUNS[name], steps=40, dead_after=500)
    reference = state(run(tmp_path / "a", how))
    assert same(reference, state(run(tmp_path / "b", how)))
    assert not same(reference, state(run(tmp_path / "c", replace(how, seed=1))))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "d", how, Interrupted(), checkpoint_every=15)
    stream = MemoryStream()
    assert same(reference, state(run(tmp_path / "d", how, stream, checkpoint_every=15)))
    assert stream.asked == list(range(30, 40))


def without_seconds(folder):
    return [replace(record, seconds=0) for record in read_ledger(folder / "metrics.jsonl")[1]]


def test_several_saes_on_one_stream_are_what_each_alone_would_be(tmp_path):
    runs = {name: replace(how, steps=30 + i) for i, (name, how) in enumerate(RUNS.items())}
    stream = MemoryStream()
    together = train(runs, stream, tmp_path / "all", progress=False)
    assert stream.asked == list(range(29 + len(RUNS)))
    for name, how in runs.items():
        assert same(state(together[name]), state(run(tmp_path / name, how)))
        assert without_seconds(tmp_path / "all" / name) == without_seconds(tmp_path / name)


def test_kill_at_any_moment_and_resume_gives_the_same_bits(tmp_path):
    """SIGKILL or SIGTERM after more and more records than before, until the run comes to its end."""
    script = [sys.executable, str(HERE / "train_in_process.py")]
    subprocess.run([*script, str(tmp_path / "whole")], check=True, cwd=HERE)
    kills = 0
    metrics = tmp_path / "killed" / "free" / "metrics.jsonl"
    while True:
        begun = len(metrics.read_bytes()) if metrics.exists() else 0
        process = subprocess.Popen([*script, str(tmp_path / "killed")], cwd=HERE)
        wanted = begun + 400 * (3 + 7 * kills)
        while process.poll() is None and (not metrics.exists() or metrics.stat().st_size < wanted):
            time.sleep(0.002)
        if process.poll() is not None:
            assert process.returncode == 0
            break
        number = (signal.SIGKILL, signal.SIGTERM)[kills % 2]
        process.send_signal(number)
        assert process.wait() in (-signal.SIGKILL if number == signal.SIGKILL else 128 + number, 0)
        kills += 1
    assert kills >= 2
    for name in RUNS:
        assert same(*(state(load_sae(tmp_path / which / name)[0]) for which in ("whole", "killed")))
        assert without_seconds(tmp_path / "whole" / name) == without_seconds(tmp_path / "killed" / name)
    whole, killed = (tmp_path / which / "free" / "sae_weights.safetensors" for which in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()


def torchrun(folder, split):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, str(HERE / "train_in_process.py"), str(folder), split], check=True, cwd=HERE, env=environment
    )


def test_two_processes_that_share_batches_give_the_result_of_one(tmp_path):
    """To float tolerance: sums over tokens are taken in another order, and 300 steps amplify that."""
    short = {name: replace(how, steps=300) for name, how in RUNS.items()}
    one = train(short, MemoryStream(), tmp_path / "one", progress=False)
    torchrun(tmp_path / "two", "batch")
    for name in RUNS:
        found, _ = load_sae(tmp_path / "two" / name)
        h = MemoryStream().data
        a, b = (sae(h)[0].detach() for sae in (one[name], found))
        power = float((h - h.mean(dim=0)).square().mean())
        assert float((a - b).square().mean()) < 1e-4 * power, name
        records = [read_ledger(tmp_path / which / name / "metrics.jsonl")[1] for which in ("one", "two")]
        for measure in ("fvu", "effective_degree"):
            alone, shared = (getattr(record[-1], measure) for record in records)
            assert alone == pytest.approx(shared, rel=1e-3)


class Second(World):
    """Process 1 of 2, by itself: process 0 writes its first files as soon as the two have met."""

    def wait(self):
        (self.folder / "written.txt").touch()
        raise KeyboardInterrupt


def test_all_processes_have_looked_at_a_folder_before_one_writes(tmp_path):
    second = Second(1, 2)
    object.__setattr__(second, "folder", tmp_path)
    with pytest.raises(KeyboardInterrupt):  # it got as far as the meeting
        run(tmp_path, world=second)
    with pytest.raises(InvalidFile, match="is not empty and holds no training run"):
        run(tmp_path, world=second)


def test_a_folder_that_a_crash_left_with_a_lock_alone_is_taken(tmp_path):
    (tmp_path / ".metrics.jsonl.lock").touch()
    assert run(tmp_path, replace(HOW, steps=2)).n == 64


def test_saes_can_be_dealt_out_among_processes(tmp_path):
    torchrun(tmp_path / "dealt", "saes")
    torch.set_num_threads(1)
    for name, how in RUNS.items():
        assert same(state(load_sae(tmp_path / "dealt" / name)[0]), state(run(tmp_path / name, how)))


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path):
    with pytest.raises(InvalidArgument, match="batch = 128: must be a multiple of the 3 processes"):
        run(tmp_path, world=World(0, 3))


def test_a_finished_run_is_only_read(tmp_path):
    reference = state(run(tmp_path))
    stream = MemoryStream()
    assert same(reference, state(run(tmp_path, stream=stream)))
    assert stream.asked == []


def test_a_resumed_run_with_another_configuration_is_refused_by_field(tmp_path):
    run(tmp_path)
    with pytest.raises(InvalidFile, match=r"learning_rate is 0\.004 there and 0\.001 here"):
        run(tmp_path, replace(HOW, learning_rate=1e-3))
    with pytest.raises(InvalidFile, match="batch is 128 there and 64 here"):
        run(tmp_path, stream=MemoryStream(64))


def test_training_starts_normalised_and_moves_along_the_sphere():
    """At step 0 E||s h||^2 = m and b_dec = s E h; each gradient is tangent, each column stays of unit norm."""
    one = training_run(replace(HOW, clip=None))
    data = MemoryStream().data
    assert float((one.sae.scale * data).square().sum(dim=1).mean()) == pytest.approx(32, rel=1e-4)
    torch.testing.assert_close(one.sae.b_dec.data, one.sae.scale * data.mean(dim=0))
    for step in range(20):
        before = one.sae.weight.detach().clone()
        one.advance(MemoryStream().batch(step))
        assert (one.sae.weight.grad * before).sum(dim=1).abs().max() < 1e-5
        assert one.sae.weight.grad.abs().max() > 0
        torch.testing.assert_close(one.sae.weight.detach().norm(dim=1), torch.ones(64))


def test_the_geometric_median_is_where_the_distances_balance():
    one = training_run(replace(HOW, centre="geometric_median"))
    data = MemoryStream().data
    away = torch.nn.functional.normalize(data - one.sae.b_dec / one.sae.scale, dim=1)
    assert away.mean(dim=0).norm() < 1e-3
    assert (training_run().sae.b_dec - one.sae.b_dec).norm() > 1e-2


def test_the_rule_for_the_rate_keeps_the_relative_step():
    for how, factor in ((HOW, (32 / 4) ** 0.5), (replace(HOW, d=None), 1.0), (replace(HOW, scale_rate=False), 1.0)):
        values, biases = training_run(replace(how, encoder="warm")).optimiser.param_groups
        assert values["peak"] == pytest.approx(4e-3 * factor)
        assert biases["peak"] == 4e-3
        assert len(values["params"]) == 2


def test_the_rate_rises_then_falls():
    how = replace(HOW, steps=100, warm_up=0.1, final_rate=0.05)
    rates = [how.rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.05, abs=2e-3)
    assert replace(how, warm_up=0.0).rate_at(0) == 1


def test_clipping_bounds_the_gradient():
    one = training_run(replace(HOW, clip=1e-3))
    one.advance(MemoryStream().batch(0))
    total = sum(float(p.grad.square().sum()) for p in one.sae.parameters()) ** 0.5
    assert total == pytest.approx(1e-3, rel=1e-3)


def test_a_divergence_stops_with_the_last_good_checkpoint(tmp_path):
    class Broken(MemoryStream):
        def batch(self, step):
            return super().batch(step) * (float("nan") if step == 33 else 1.0)

    runs = {"a": HOW, "b": replace(HOW, d=None, steps=20)}
    with pytest.raises(Diverged, match=r"a: diverged at step 3\d of 40 .*its checkpoint after 30 steps is kept"):
        train(runs, Broken(), tmp_path, progress=False, log_every=5, checkpoint_every=10)
    assert (tmp_path / "a" / "checkpoint.safetensors").is_file()
    assert not (tmp_path / "a" / "cfg.json").exists()
    assert load_sae(tmp_path / "b")[0].n == 64
    assert all(np.isfinite(r.fvu) for r in read_ledger(tmp_path / "a" / "metrics.jsonl")[1])
    # The checkpoint is sound: with good data the run goes on from it.
    assert run(tmp_path / "a", HOW).n == 64


def test_an_exploding_fvu_is_a_divergence(tmp_path):
    class Louder(MemoryStream):
        def batch(self, step):
            return super().batch(step) * (1 if step < 20 else 100)

    with pytest.raises(Diverged, match=r"diverged at step 25 .*it had no checkpoint yet\. Lower the learning rate"):
        run(tmp_path, stream=Louder())


@pytest.mark.parametrize("how", [replace(HOW, n=2048, k=128, d=8), replace(HOW, n=2048, k=256, d=2)], ids=str)
def test_a_run_is_not_judged_by_how_it_starts(tmp_path, how):
    """An untrained SAE with tied columns and a large k counts what they share many times over."""
    run(tmp_path, replace(how, steps=60, learning_rate=4e-3), log_every=1)
    fvus = [record.fvu for record in read_ledger(tmp_path / "metrics.jsonl")[1]]
    assert fvus[0] > 10
    assert fvus[-1] < 0.8 * fvus[0]


def test_divergence_is_growth_beyond_the_best_after_the_warm_up():
    one = training_run(replace(HOW, steps=100, warm_up=0.1))
    assert not one.exploded(40.0)
    one.step = 5
    assert not one.exploded(300.0)  # the first was 40, and it warms up
    assert not one.exploded(2.0)
    assert one.exploded(401.0)
    one.step = 11
    assert not one.exploded(3.0)
    assert not one.exploded(30.0)
    assert one.exploded(30.1)
    assert not one.exploded(0.1)
    assert not one.exploded(9.9)  # a good run may have a bad batch
    assert one.exploded(10.1)
    assert one.exploded(float("nan"))


def test_what_a_run_is_judged_by_survives_an_interruption(tmp_path):
    one = training_run()
    for step in range(5):
        one.advance(MemoryStream().batch(step))
        assert not one.exploded(one.numbers()["fvu"] * (7 if step == 0 else 1))
    one.save_checkpoint(tmp_path / "checkpoint.safetensors")
    other = training_run()
    other.load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert other.reference == one.reference


def rewritten(path, change):
    """The checkpoint with changed fields or arrays and a hash that is right again."""
    fields, arrays = read_arrays(path, CHECKPOINT, VERSION)
    change(fields, arrays)
    write_arrays(path, CHECKPOINT, VERSION, fields, arrays)


FORGERIES = {
    "moments of another shape": (
        lambda f, a: a.update({"weight.exp_avg": a["weight.exp_avg"][:3]}),
        "weight.exp_avg is",
    ),
    "moments of another type": (
        lambda f, a: a.update({"b_dec.exp_avg": a["b_dec.exp_avg"].astype(int)}),
        "b_dec.exp_avg",
    ),
    "rows out of range": (lambda f, a: a["rows"].__setitem__(0, 10**6), "rows are not those of this run's mask"),
    "counts of another shape": (lambda f, a: a.update({"dead.counts": a["dead.counts"][:-1]}), "dead.counts is"),
    "counts that are negative": (lambda f, a: a["dead.counts"].__setitem__(0, -5), "dead.counts has negative"),
    "a step beyond the end": (lambda f, a: f.update(step=41), "step = 41: must be at most steps = 40"),
    "a step that is none": (lambda f, a: f.update(step="15"), "step: expected int, got str"),
    "a step below 0": (lambda f, a: f.update(step=-1), "step: expected int >= 0"),
    "a field missing": (lambda f, a: f.pop("variance"), "lacks variance"),
    "weights that are NaN": (lambda f, a: a["weight"].__setitem__(0, np.nan), "weight holds NaN"),
    "a missing array": (lambda f, a: a.pop("b_enc"), "lacks or adds b_enc"),
    "another seed": (lambda f, a: f["identity"].update(seed=7), "seed is 7 there and 0 here"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_checkpoint_is_refused_by_field(tmp_path, name):
    change, message = FORGERIES[name]
    one = training_run()
    for step in range(15):
        one.advance(MemoryStream().batch(step))
    path = tmp_path / "checkpoint.safetensors"
    one.save_checkpoint(path)
    rewritten(path, change)
    with pytest.raises(InvalidFile, match=message):
        training_run().load_checkpoint(path)


@pytest.mark.parametrize("change", [{"seed": 1}, {"learning_rate": 1e-3}])
def test_the_checkpoint_of_another_run_is_refused(tmp_path, change):
    for folder, how in (("a", HOW), ("b", replace(HOW, **change))):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / folder, how, Interrupted(), checkpoint_every=15)
    (tmp_path / "a" / "checkpoint.safetensors").write_bytes((tmp_path / "b" / "checkpoint.safetensors").read_bytes())
    with pytest.raises(InvalidFile, match=rf"belongs to another run: {next(iter(change))} is .* there and .* here"):
        run(tmp_path / "a")


def test_damaged_checkpoints_are_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, HOW, Interrupted(), checkpoint_every=15)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InvalidFile, match="truncated"):
        run(tmp_path)


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "dictionary.safetensors").write_text("precious")
    with pytest.raises(InvalidFile, match="not empty"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["dictionary.safetensors"]


def test_the_sae_of_another_run_is_not_adopted(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b", replace(HOW, seed=1))
    for name in ("cfg.json", "sae_weights.safetensors"):
        (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with pytest.raises(InvalidFile, match="the SAE of another run"):
        run(tmp_path / "a")


def test_a_mask_of_another_width_is_refused(tmp_path):
    save_mask(polynomial_mask(5, 3), tmp_path / "mask")
    with pytest.raises(InvalidArgument, match="m = 15 rows, the activations have 32"):
        run(tmp_path / "out", replace(HOW, mask=tmp_path / "mask"))


def test_a_saved_mask_decides_the_supports(tmp_path):
    save_mask(polynomial_mask(8, 4, n=60), tmp_path / "mask")
    how = replace(HOW, mask=tmp_path / "mask")
    sae = run(tmp_path / "out", how)
    assert sae.mask == polynomial_mask(8, 4, n=60)
    assert how.identity()["n"] == 60


@pytest.mark.parametrize(
    ("field", "value"),
    [("k", 0), ("learning_rate", 0.0), ("warm_up", 1.0), ("final_rate", 2.0), ("clip", 0.0), ("revival", "prayer")],
)
def test_bad_recipes_are_named(field, value):
    with pytest.raises(InvalidArgument, match=field):
        replace(HOW, **{field: value})


def test_tensorboard_gets_what_the_metrics_get(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train({"a": HOW}, MemoryStream(), tmp_path, progress=False, report_to=["tensorboard"])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = {event.step: event.value for event in events.Scalars("a/fvu")}
    records = read_ledger(tmp_path / "a" / "metrics.jsonl")[1]
    assert found == pytest.approx({r.step: r.fvu for r in records}, rel=1e-6)


def test_wandb_gets_what_the_metrics_get(tmp_path, monkeypatch):
    rows = []

    class Run:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            rows.append("closed")

        def define_metric(self, *_, **__): ...

        def log(self, numbers):
            rows.append(numbers)

    class Module:
        @staticmethod
        def init(**about):
            assert about["config"]["a"]["k"] == 4
            return Run()

    monkeypatch.setitem(sys.modules, "wandb", Module)
    train({"a": HOW}, MemoryStream(), tmp_path, progress=False, report_to=["wandb"])
    records = read_ledger(tmp_path / "a" / "metrics.jsonl")[1]
    assert [row["a/fvu"] for row in rows[:-1]] == [r.fvu for r in records]
    assert rows[-1] == "closed"
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingResource, match="pip install wandb"):
        train({"b": HOW}, MemoryStream(), tmp_path, progress=False, report_to=["wandb"])


def test_the_configuration_says_how_it_was_trained(tmp_path):
    run(tmp_path, about={"language_model": "tiny", "layer": 2})
    about = json.loads((tmp_path / "cfg.json").read_text())
    assert about["training"]["language_model"] == "tiny"
    assert about["training"]["steps"] == HOW.steps
    assert about["n"] == 64


def test_activations_that_do_not_vary_are_refused(tmp_path):
    stream = MemoryStream()
    stream.data = torch.full_like(stream.data, 0.7)
    with pytest.raises(InvalidArgument, match=r"activations = of variance .*: must vary from token to token"):
        train({"x": Training(d=4, n=64, k=4, steps=5)}, stream, tmp_path, progress=False)
