"""Ctrl-C, SIGTERM and checkpoints by the clock: nothing is lost, and nothing changes."""

import os
import signal
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from support.streams import MemoryStream

from expander_theory.base import stopping
from expander_theory.results import read_arrays
from sae_bridge.training import Training, TrainingRun, train
from sae_bridge.training.training_run import CHECKPOINT, VERSION

HOW = Training(d=4, n=64, k=4, steps=40, dead_after=1000)
BOTH = pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])


def run(folder, stream=None, **options):
    return train({".": HOW}, stream or MemoryStream(), folder, progress=False, **options)["."]


def same(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def saved(folder):
    return read_arrays(folder / "checkpoint.safetensors", CHECKPOINT, VERSION)[0]["step"]


@BOTH
@pytest.mark.parametrize(("waiting", "steps"), [(True, 22), (False, 23)])
def test_a_stop_loses_no_step(tmp_path, monkeypatch, number, error, waiting, steps):
    """While a batch is awaited it stops at once; a step that has begun is finished."""

    class Stopped(MemoryStream):
        def batch(self, step):
            if step == 22 and waiting:
                os.kill(os.getpid(), number)
                time.sleep(60)
            return super().batch(step)

    advance = TrainingRun.advance

    def stopped(self, *args):
        if self.step == 22 and not waiting:
            os.kill(os.getpid(), number)
        return advance(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "advance", stopped)
        with pytest.raises(error):
            run(tmp_path, Stopped())
    assert saved(tmp_path) == steps
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
    assert same(run(tmp_path), run(tmp_path / "whole"))


def asked_before(number, stop):
    os.kill(os.getpid(), number)
    assert stop.asked  # the work goes on
    with stop.at_once():
        pytest.fail("it was asked to stop before")


def asked_while_it_waits(number, stop):
    with stop.at_once():
        os.kill(os.getpid(), number)
        time.sleep(60)


def asked_twice(number, stop):
    with stop.at_once():
        pass
    os.kill(os.getpid(), number)
    assert stop.asked
    os.kill(os.getpid(), number)
    pytest.fail("the second one ends it")


@BOTH
@pytest.mark.parametrize("work", [asked_before, asked_while_it_waits, asked_twice])
def test_waiting_ends_at_once_and_work_when_it_asks(number, error, work):
    with pytest.raises(error), stopping() as stop:
        work(number, stop)


def test_checkpoints_by_the_clock_come_with_records_and_change_nothing(tmp_path, monkeypatch):
    now, advance = 0.0, TrainingRun.advance

    def slow(self, *args):
        nonlocal now
        now += 60.0
        return advance(self, *args)

    steps, save = [], TrainingRun.save_checkpoint

    def noted(self, path):
        steps.append(self.step)
        save(self, path)

    monkeypatch.setattr(TrainingRun, "advance", slow)
    monkeypatch.setattr(TrainingRun, "save_checkpoint", noted)
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(sys.modules["sae_bridge.training.train"], "time", clock)
    timed = run(tmp_path / "timed", log_every=4, checkpoint_minutes=7.0)
    assert steps == [9, 17, 25, 33]  # records of steps 8, 16, ..., the first ones seven minutes after the last
    steps.clear()
    both = run(tmp_path / "both", log_every=4, checkpoint_minutes=7.0, checkpoint_every=15)
    assert steps == [9, 15, 25, 30]
    steps.clear()
    assert same(timed, run(tmp_path / "plain", log_every=4))
    assert same(timed, both)
    assert steps == []
    folders = [tmp_path / name / "sae_weights.safetensors" for name in ("timed", "plain")]
    assert folders[0].read_bytes() == folders[1].read_bytes()
