"""The best learning rate of each recipe, from short runs at a grid of rates: a recorded sweep.

The best rate depends on the architecture and on d, and explains much of what looks like an effect of d when one rate
is used for all. So every recipe is compared at its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from expander_theory.base import require
from expander_theory.results import Ledger, RateRecord
from sae_bridge.activations import ActivationStore, ActivationStream
from sae_bridge.evaluation import reconstruction
from sae_bridge.sae import is_sae_folder, load_sae
from sae_bridge.training.recipe import Training
from sae_bridge.training.train import Diverged, train

FACTOR, EXTENSIONS = 2.0, 4


def best_rates(
    recipes: Mapping[str, Training],
    rates: Sequence[float],
    stream: ActivationStream,
    store: ActivationStore,
    folder: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> dict[str, float]:
    """The rate of least held-out FVU for each recipe, after its own number of steps.

    All runs of a round share one stream. Where the best rate is at an end of the grid, the grid grows there by a factor
    of two, four times at most. What was found is in ``folder/rates.jsonl``, a line a run; a second call only reads it.

    Args:
        recipes: short versions of what is to be trained; their own learning rate is not used.
        rates: increasing grid.
        stream, store: training batches, and where held-out activations lie.
        folder: for the ledger and the runs.

    Raises:
        InvalidArgument: a grid that is empty or does not increase, or a recipe that diverges at every rate.
        InvalidFile: the folder belongs to another sweep.
    """
    grid = [float(rate) for rate in rates]
    require(len(grid) > 0 and grid == sorted(set(grid)), "rates", grid, "must increase and name at least one rate")
    folder = Path(folder)
    about = {"kind": "learning rates", "activations_sha256": stream.sha256, "batch": stream.batch_size}
    shared = {name: {**how.identity(), "learning_rate": None} for name, how in recipes.items()}
    with Ledger(
        folder / "rates.jsonl", {**about, "order_seed": stream.seed, "rates": grid, "recipes": shared}
    ) as ledger:
        found = {(record.name, record.learning_rate): _fvu(record) for record in ledger.of(RateRecord)}
        wanted = {name: list(grid) for name in recipes}
        while any(wanted.values()):
            runs = {
                f"{name}-lr{rate:g}": (name, rate)
                for name, some in wanted.items()
                for rate in some
                if (name, rate) not in found
            }
            for label, fvu in _run(recipes, runs, stream, store, folder, device, progress).items():
                name, rate = runs[label]
                found[name, rate] = fvu
                ledger.append(RateRecord(name, rate, fvu if math.isfinite(fvu) else None))
            wanted = {name: _beyond(name, found, grid) for name in recipes}
        return {name: _best(name, found) for name in recipes}


def _run(
    recipes: Mapping[str, Training],
    runs: Mapping[str, tuple[str, float]],
    stream: ActivationStream,
    store: ActivationStore,
    folder: Path,
    device: str | torch.device,
    progress: bool,
) -> dict[str, float]:
    """Held-out FVU of each run; infinity where it diverged."""
    if not runs:
        return {}
    hows = {label: replace(recipes[name], learning_rate=rate) for label, (name, rate) in runs.items()}
    with suppress(Diverged):  # a run that did has no SAE
        train(hows, stream, folder, device=device, progress=progress)
    scores = {}
    for label in runs:
        scores[label] = math.inf
        if is_sae_folder(folder / label):
            sae, _ = load_sae(folder / label)
            scores[label] = reconstruction(sae, store, training_tokens=0, progress=False).fvu
    return scores


def _fvu(record: RateRecord) -> float:
    return math.inf if record.fvu is None else record.fvu


def _tried(name: str, found: Mapping[tuple[str, float], float]) -> list[tuple[float, float]]:
    return sorted((rate, fvu) for (other, rate), fvu in found.items() if other == name)


def _best(name: str, found: Mapping[tuple[str, float], float]) -> float:
    rate, fvu = min(_tried(name, found), key=lambda pair: pair[1])
    require(math.isfinite(fvu), "rates", [r for r, _ in _tried(name, found)], f"all diverge for {name}: add lower ones")
    return rate


def _beyond(name: str, found: Mapping[tuple[str, float], float], grid: Sequence[float]) -> list[float]:
    """The next rate on the side where the best one is the last, unless the grid has grown far enough."""
    tried = [rate for rate, _ in _tried(name, found)]
    best, most = _best(name, found), FACTOR**EXTENSIONS * (1 + 1e-9)
    if best == tried[-1] and best * FACTOR < min(1, grid[-1] * most):
        return [best * FACTOR]
    return [best / FACTOR] if best == tried[0] and best / FACTOR > grid[0] / most else []
