"""Claim: exact expansion reaches further. The largest s whose eps_s is settled within a time limit, by shape of mask.

``python -m experiments.theory.expansion_reach --seconds 60`` prints a Markdown table. The limit is in seconds of the
clock, on one core: on a busy machine the same s takes longer, so compare with care.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

EARLIER = {(64, 128): 9, (128, 512): 8, (256, 1024): 7, (512, 4096): 7, (2048, 16384): 5, (2048, 65536): 5}
"""Shapes (m, n) of d = 7 and the s that a first version of the search settled in about 60 seconds."""


@dataclass(frozen=True)
class Reach:
    """Measure how far exact expansion of uniform random masks (d = 7) gets."""

    seconds: float = 60.0
    """Limit for each size s, seconds of the clock."""
    d: int = 7
    """Nonzeros per column. The earlier figures are for 7."""
    seed: int = 0
    """Of the masks."""
    largest: int = 16
    """Stop at this s."""

    def run(self) -> None:
        from tabulate import tabulate

        rows = [(m, n, s, str(eps), f"{seconds:.1f}", EARLIER[m, n]) for m, n, s, eps, seconds in self.measure()]
        print(tabulate(rows, ["m", "n", "s", "eps_s", "seconds", "s before"], tablefmt="github", disable_numparse=True))

    def measure(self) -> Iterator[tuple[int, int, int, Fraction, float]]:
        """(m, n, s, eps_s, seconds it took) for each shape, s as large as the limit allows."""
        from expander_theory import expansion_profile, uniform_mask
        from expander_theory.base import progress_bar

        expansion_profile(uniform_mask(20, 10, self.d, seed=0), 4)  # compilation is not measured
        with progress_bar(total=len(EARLIER), show=True, desc="masks", unit="mask") as bar:
            for m, n in EARLIER:
                mask = uniform_mask(m, n, self.d, seed=self.seed)
                settled, eps, spent = 1, Fraction(0), 0.0
                while settled < self.largest:
                    begun = time.monotonic()
                    low, high = expansion_profile(mask, settled + 1, time_limit=self.seconds).ratio_bounds()
                    if low < high:
                        break
                    settled, eps, spent = settled + 1, 1 - high, time.monotonic() - begun
                yield m, n, settled, eps, spent
                bar.update()


if __name__ == "__main__":
    import tyro

    tyro.cli(Reach).run()
