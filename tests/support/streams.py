"""A stream of sparse synthetic activations in memory, for tests of training."""

import torch


class MemoryStream:
    """Each token is the sum of six of 128 random unit vectors of width 32, off centre."""

    m, seed, windows, sha256 = 32, 0, 1, "memory"

    def __init__(self, batch_size=128, count=4096, seed=0):
        generator = torch.Generator().manual_seed(seed)
        atoms = torch.nn.functional.normalize(torch.randn(128, 32, generator=generator), dim=1)
        code = torch.rand(count, 128, generator=generator) * (torch.rand(count, 128, generator=generator) < 6 / 128)
        self.data = 3 * code @ atoms + torch.linspace(-1, 1, 32)
        self.batch_size = batch_size
        self.asked = []

    def batch(self, step):
        self.asked.append(step)
        order = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(step))
        return self.data[order[: self.batch_size]]

    def sample(self, count):
        return self.data[:count]
