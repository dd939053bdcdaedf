"""Claim: an expander SAE trains faster and in less memory than dense TopK SAEs of the same (m, n, k).

``python experiments/bench_sae.py`` (or ``python -m experiments.bench_sae``) prints Markdown tables of whole training
steps: forward, backward, optimiser. All SAEs start at the same decoder, and their reconstructions and gradients there
are compared; the exit code is 1 where they differ. SAELens and sparsify are timed where they are installed
(``pip install -e ".[sae,interop]"``). Times are wall times: leave the machine alone meanwhile.
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

SizeName = Literal["large", "small", "wide"]


@dataclass(frozen=True)
class Benchmark:
    """Time training steps of expander SAEs beside dense ones: plain torch, SAELens, sparsify."""

    sizes: tuple[SizeName, ...] = ("large", "small", "wide")
    """large: m = 2048, n = 16,384, d = 7; small: m = 576, n = 4,608, d = 8; wide: memory at n = 65,536, for which the
    dense step needs some 6 GB."""
    repeats: int = 3
    """Interleaved repeats; the least counts."""
    batch: int = 2048
    """Tokens in a step."""
    threads: int = 2
    """Of all contenders."""
    seed: int = 0
    """Of masks, initial weights and tokens."""
    out: Path | None = None
    """A new ledger (JSON lines) for all numbers and the machine."""

    def run(self) -> None:
        """Measure and print; exit with code 1 where answers differ.

        Raises:
            InvalidArgument: a number out of range, or ``out`` exists.
        """
        import torch

        from expander_theory.base import require, require_seed
        from experiments.bench.machine import describe, measure_rates
        from experiments.bench.memory import method
        from experiments.bench.report import ledger_at
        from experiments.bench.sae_peers import Size
        from experiments.bench.sae_report import compare_memory, compare_steps

        for name in ("repeats", "batch", "threads"):
            require(getattr(self, name) > 0, name, getattr(self, name), "must be above 0")
        require_seed(self.seed)
        torch.set_num_threads(self.threads)
        sizes = {"large": Size(2048, 16384, 32, 7, 20), "small": Size(576, 4608, 32, 8, 5)}
        wide = Size(2048, 65536, 32, 7, 10)

        def tokens(size: Size) -> torch.Tensor:
            return torch.randn(self.batch, size.m, generator=torch.Generator().manual_seed(self.seed))

        rates = measure_rates()
        machine = describe(rates)
        print(f"{machine['processor']}, {self.threads} threads, batch {self.batch:,}. Memory: {method()}.")
        wrong: list[str] = []
        identity = {"kind": "SAE benchmark", **asdict(self), "out": None, "machine": machine}
        with ledger_at(self.out, identity) as append:
            for name in self.sizes:
                if name == "wide":
                    compare_memory(wide, tokens(wide), self.seed, append)
                else:
                    size = sizes[name]
                    wrong += compare_steps(size, tokens(size), self.repeats, self.seed, rates, append)
        if wrong:
            sys.exit("Answers differ:\n" + "\n".join(wrong))
        print("\nReconstructions and gradients agree.")


if __name__ == "__main__":
    import tyro

    tyro.cli(Benchmark).run()
