"""Inputs and outputs for tests of transcoders: a layer of rectified units, and stores of activations in folders."""

from dataclasses import replace

import torch

from sae_bridge.activations import Harvest, TextSource, TokenPolicy, harvest

M_IN, M_OUT = 24, 32


class PairedStream:
    """[h_in | h_out]: Gaussian inputs off centre, and what 96 rectified units, rarely active, make of them."""

    m, seed, windows, sha256 = M_IN + M_OUT, 0, 1, "pairs"

    def __init__(self, batch_size=256, count=4096, seed=0):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(count, M_IN, generator=generator)
        y = torch.relu(x @ torch.randn(M_IN, 96, generator=generator) - 6) @ torch.randn(96, M_OUT, generator=generator)
        self.data = torch.cat([2 * x + 1, 0.1 * y + 3], dim=1)
        self.batch_size = batch_size

    def batch(self, step):
        order = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(step))
        return self.data[order[: self.batch_size]]

    def sample(self, count):
        return self.data[:count]


def harvest_places(model, text_folder, folder, *places, **how):
    """Stores of several places of one text in ``folder``, by harvests one after the other."""
    defaults = {"context": 12, "train_contexts": 40, "held_out_contexts": 12, "batch": 8}
    what = Harvest(**{**defaults, "policy": TokenPolicy(outlier_ratio=1.3), **how})
    text = TextSource([str(text_folder)])
    for layer, hook in places:
        where = folder / f"layer{layer}.{hook}"
        harvest(model, text, replace(what, layer=layer, hook=hook), where, progress=False)
    return folder
