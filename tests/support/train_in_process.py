"""Trains in a process of its own: python train_in_process.py FOLDER [SPLIT]. Four SAEs, checkpoints every 20 steps."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.streams import MemoryStream

from sae_bridge.training.parallel import world
from sae_bridge.training.recipe import Training
from sae_bridge.training.train import train

HOW = Training(d=4, n=64, k=4, steps=300, dead_after=2000)
RUNS = {
    "tied": HOW,
    "dense": Training(d=None, n=64, k=4, steps=300, dead_after=2000),
    "moving": Training(
        d=4, n=64, k=4, steps=300, supports="momentum", regrow_every=3, dead_after=2000, dense_columns=3
    ),
    "free": Training(d=4, n=64, k=4, steps=300, encoder="random", revival="resample", activation="batch_topk"),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, split = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "batch"
    with world(split) as here:
        train(RUNS, MemoryStream(), folder, world=here, progress=False, checkpoint_every=20, log_every=5)
