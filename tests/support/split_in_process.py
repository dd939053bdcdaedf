"""One of two processes that split features: python split_in_process.py FOLDER, under torchrun's variables.

What it finds goes to FOLDER/found{rank}.json.
"""

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.streams import MemoryStream

from sae_bridge.training.parallel import world
from sae_bridge.training.recipe import Training
from sae_bridge.training.split._run import SplitRun
from sae_bridge.training.split.exchange import Exchange
from sae_bridge.training.split.shard import FeatureShard
from sae_bridge.training.train import train

HOW = Training(d=4, n=128, k=2, steps=40, dead_after=200)
RUNS = {
    "tied": HOW,
    "dense": replace(HOW, d=None, encoder="warm"),
    "batch": replace(HOW, n=129, activation="batch_topk", encoder="random"),
    "magnitude": replace(HOW, n=97, selection="magnitude", clip=None),
}
TIES = replace(HOW, n=9, k=3, revival="none")


class Crashing(MemoryStream):
    """A stream that breaks off at a step, in all processes alike."""

    def batch(self, step):
        if step == 27:
            raise RuntimeError("crash")
        return super().batch(step)


class Stopping(MemoryStream):
    """A stream in which one process, and no other, is told to stop."""

    def __init__(self, asked):
        super().__init__()
        self.told = asked

    def batch(self, step):
        if step == 13 and self.told:
            signal.raise_signal(signal.SIGTERM)
        return super().batch(step)


def tie_break(m):
    """A whole SAE's weight in which columns 3, 4, 6 and 8 are the same."""
    weight = torch.nn.functional.normalize(torch.arange(1.0, 1 + 9 * m).reshape(9, m).sin(), dim=1)
    weight[torch.tensor([4, 6, 8])] = weight[3].clone()
    return weight


def ties(rank):
    """Own features of codes in which equal ones compete across the cut: pairs (token, feature, act)."""
    how = replace(TIES, d=None)
    shard = FeatureShard(how, 32, Exchange(rank, 2))
    first, stop = shard.part.first, shard.part.stop
    with torch.no_grad():
        shard.weight.copy_(tie_break(32)[first:stop])
    x = MemoryStream().data[:20] + 40 * tie_break(32)[3]
    with torch.no_grad():
        acts, indices = shard.code(x)
    return [[t, int(j) + first] for t in range(20) for a, j in zip(acts[t], indices[t], strict=True) if a != 0]


def traffic(here):
    """Bytes that this process sent in three steps, beside the clip's 8 in each."""
    stream = MemoryStream()
    run = SplitRun(replace(HOW, revival="none"), stream.sample(4096), torch.device("cpu"), here, {})
    before = run.exchange.sent
    for step in range(3):
        run.advance(stream.batch(step))
    return run.exchange.sent - before


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, found = Path(sys.argv[1]), {}
    how = {"progress": False, "log_every": 5, "checkpoint_every": 10}
    with world("features", backend="gloo") as here:
        saes = train(RUNS, MemoryStream(), folder / "two", world=here, **how)
        found["b_dec"] = {name: sae.b_dec.tolist() for name, sae in saes.items()}
        some = {"tied": HOW, "batch": RUNS["batch"]}
        for which, stream, error in (
            ("crashed", Crashing(), RuntimeError),
            ("stopped", Stopping(here.rank == 1), (KeyboardInterrupt, SystemExit)),
        ):
            try:
                train(some, stream, folder / which, world=here, **how)
            except error:
                found[which] = sorted(path.name for path in (folder / which / "tied").glob("checkpoint*"))
            here.wait()
            train(some, MemoryStream(), folder / which, world=here, **how)
        found["ties"] = ties(here.rank)
        found["sent"] = traffic(here)
    (folder / f"found{here.rank}.json").write_text(json.dumps(found))
