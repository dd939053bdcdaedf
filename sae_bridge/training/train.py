"""Train one or several SAEs on one stream of activations. Seeds decide everything; a run resumes to the bit."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from expander_theory.base import ExpanderTheoryError, InvalidFile, Stop, progress_bar, require, stopping
from expander_theory.results import Ledger, StepRecord
from sae_bridge.sae import CONFIGURATION, SparseAutoencoder, is_sae_folder
from sae_bridge.training._metrics import Sink, SinkName, sinks
from sae_bridge.training.parallel import World
from sae_bridge.training.recipe import Training
from sae_bridge.training.split import require_splittable
from sae_bridge.training.split._run import SplitRun
from sae_bridge.training.training_run import Divergence, TrainingRun

if TYPE_CHECKING:
    from sae_bridge.activations import ActivationStream

METRICS, CHECKPOINT, DECODER = "metrics.jsonl", "checkpoint.safetensors", "dictionary.safetensors"
SAMPLE = 32_768
"""Activations that s, b_dec and the variance in FVU are taken from."""


class Diverged(ExpanderTheoryError):
    """SAEs diverged; the others have been trained to their end. The text says which, when, and what is kept."""


def train(
    runs: Mapping[str, Training],
    stream: ActivationStream,
    folder: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    world: World | None = None,
    about: Mapping[str, Any] | None = None,
    log_every: int = 25,
    checkpoint_every: int = 250,
    checkpoint_minutes: float | None = None,
    report_to: Sequence[SinkName] = (),
    progress: bool = True,
    divergence: Divergence | None = None,
) -> dict[str, SparseAutoencoder]:
    """Minimise ||s h - W code - b_dec||^2 for every run, all on the same batches in the same order.

    Every run has a folder, ``folder / name`` ("." for ``folder`` itself), with the SAE (``cfg.json`` and
    ``sae_weights.safetensors``), its decoder as ``dictionary.safetensors``, ``metrics.jsonl``, and on the way a
    checkpoint, from which an interrupted run goes on to the same result. A finished folder is only read.

    Args:
        runs: recipes by name.
        stream: where batches come from; a function of the step.
        folder: for the results.
        device: torch device. Runs repeat to the bit on the CPU; CUDA sums in no fixed order.
        world: the processes of torchrun, from :func:`sae_bridge.training.world`.
        about: what else the SAE's configuration shall say, JSON-able: the language model, layer and hook.
        log_every, checkpoint_every: steps between two records, and between two checkpoints. Ctrl-C and SIGTERM end
            the step and save one more; a second one ends at once.
        checkpoint_minutes: also save a checkpoint at the first record that comes so many minutes after the last one.
        report_to: "tensorboard", "wandb".
        divergence: what recipes with ``finetuned`` add to their loss: the reconstructions (B, m) of the stream's last
            batch, in the units of h, to a KL divergence.

    Returns:
        The SAEs, by name, ready for evaluation; with ``split="saes"`` those of this process. With "features" this
        process's part (:class:`sae_bridge.training.split.FeatureShard`) of what was trained now: the whole SAE is in
        its folder, for :func:`sae_bridge.sae.load_sae`.

    Raises:
        InvalidArgument: d > m, a mask of another width, a batch that the processes cannot share equally; ``finetuned``
            without a divergence, or with a batch that is shared; a recipe whose features cannot be split
            (:func:`sae_bridge.training.split.require_splittable`).
        InvalidFile: a folder belongs to another run; says which fields differ.
        Diverged: NaN or an FVU that grows (:meth:`sae_bridge.training.TrainingRun.exploded`); the last good checkpoint
            stays, the other runs are finished first.
        OSError: full or read-only disk; the last checkpoints stay.
    """
    world, device, folder = world or World(), torch.device(device), Path(folder)
    require(len(runs) > 0, "runs", len(runs), "must name at least one SAE")
    require(log_every >= 1, "log_every", log_every, "must be at least 1")
    require(checkpoint_every >= 1, "checkpoint_every", checkpoint_every, "must be at least 1")
    timed = checkpoint_minutes is None or checkpoint_minutes > 0
    require(timed, "checkpoint_minutes", checkpoint_minutes, "must be positive, or None for checkpoints by steps alone")
    size = stream.batch_size
    require(size % world.sharing == 0, "batch", size, f"must be a multiple of the {world.sharing} processes")
    for how in runs.values():
        alone = how.finetuned is None or (divergence is not None and world.sharing == 1)
        require(alone, "finetuned", how.finetuned, "needs the model's divergence and batches that no process shares")
    splits = world.split == "features" and world.size > 1
    for how in runs.values() if splits else ():
        require_splittable(how)
    if world.split == "saes":
        runs = dict(list(runs.items())[world.rank :: world.size])
    finished: dict[str, SparseAutoencoder] = {}
    with ExitStack() as stack:
        identities = {name: _identity(how, stream, device) for name, how in runs.items()}
        for name in runs:
            _refuse_foreign(folder / name)
        world.wait()  # every process has looked before one of them writes
        ledgers = {name: stack.enter_context(_metrics(folder / name, identities[name], world)) for name in runs}
        for name in runs:
            if is_sae_folder(folder / name):
                finished[name], fields = runs[name].load(folder / name)
                if any(fields.get(key) != value for key, value in identities[name].items()):
                    raise InvalidFile(folder / name / CONFIGURATION, "is the SAE of another run; choose another folder")
        todo = {name: how for name, how in runs.items() if name not in finished}
        if todo:
            sample = stream.sample(SAMPLE)
            training_runs = {
                name: (SplitRun if splits else TrainingRun)(how, sample, device, world, identities[name])
                for name, how in todo.items()
            }
            del sample
            for name, training_run in training_runs.items():
                training_run.resume(folder / name / CHECKPOINT)
            world.wait()
            reports = stack.enter_context(sinks(report_to if world.writes else (), folder, identities))
            saving = _Saving(checkpoint_every, checkpoint_minutes)
            loop = _Loop(training_runs, ledgers, folder, world, reports, log_every, saving, divergence)
            with stopping() as stop:
                loop.run(stream, device, progress, stop)
            for name, training_run in training_runs.items():
                if name not in loop.diverged:
                    training_run.sae.eval()
                    if training_run.writes:
                        _finish(folder / name, training_run, {**(about or {}), **identities[name]})
                    finished[name] = training_run.sae
            world.wait()
            if loop.diverged:
                raise Diverged("\n".join(loop.diverged.values()))
    return finished


@dataclass
class _Saving:
    """When checkpoints are saved: by steps, and by minutes since the last one where that is said."""

    every: int
    minutes: float | None
    last: float = field(init=False)

    def __post_init__(self) -> None:
        self.last = time.monotonic()

    @property
    def due(self) -> bool:
        return self.minutes is not None and time.monotonic() - self.last >= 60 * self.minutes


class _Loop:
    """The training loop, over every SAE that is not finished."""

    def __init__(
        self,
        training_runs: dict[str, TrainingRun],
        ledgers: dict[str, Ledger | None],
        folder: Path,
        world: World,
        reports: list[Sink],
        log_every: int,
        saving: _Saving,
        divergence: Divergence | None,
    ) -> None:
        self.divergence = divergence
        self.training_runs, self.ledgers, self.folder = training_runs, ledgers, folder
        self.world, self.reports = world, reports
        self.log_every, self.saving = log_every, saving
        self.diverged: dict[str, str] = {}

    def run(self, stream: ActivationStream, device: torch.device, progress: bool, stop: Stop) -> None:
        first = min(t.step for t in self.training_runs.values())
        last = max(t.how.steps for t in self.training_runs.values())
        label = f"train {len(self.training_runs)} SAE{'s' * (len(self.training_runs) > 1)}"
        show = progress and self.world.writes
        for step in progress_bar(range(first, last), initial=first, total=last, unit="step", desc=label, show=show):
            going = {
                name: t
                for name, t in self.training_runs.items()
                if t.step == step < t.how.steps and name not in self.diverged
            }
            if not going:
                continue
            if self.world.any(stop.asked, device):  # between two steps, where every SAE is whole
                self._save_unsaved(going)
                stop.now()
            h = self.world.part(self._batch(stream, step, going, stop)).to(device)
            measured = step % self.log_every == 0
            due = measured and self.saving.minutes is not None and self.world.any(self.saving.due, device)
            for name, training_run in going.items():
                training_run.advance(h, self.divergence)
                end = training_run.step == training_run.how.steps
                saves = training_run.step % self.saving.every == 0
                if measured or saves or end:
                    numbers = training_run.numbers()
                    if not self._good(name, training_run, numbers):
                        continue
                    self._log(name, step, numbers)
                if (saves or due) and not end:
                    self._save([name])

    def _batch(self, stream: ActivationStream, step: int, going: Iterable[str], stop: Stop) -> Tensor:
        """A batch, which may take its time: a stream may have to run a model first, so signals end the wait."""
        with stop.at_once() if self.world.size == 1 else nullcontext():
            try:
                return stream.batch(step)
            except (KeyboardInterrupt, SystemExit):
                if stop.asked and not self.world.in_step:  # others in step may be elsewhere
                    self._save_unsaved(going)
                raise

    def _save_unsaved(self, names: Iterable[str]) -> None:
        self._save(name for name in names if self.training_runs[name].step > self.training_runs[name].checkpointed)

    def _save(self, names: Iterable[str]) -> None:
        self.saving.last = time.monotonic()
        for name in names:
            if self.training_runs[name].writes:
                self.training_runs[name].save_checkpoint(self.folder / name / CHECKPOINT)

    def _good(self, name: str, training_run: TrainingRun, numbers: dict[str, float]) -> bool:
        """Whether the run may go on; one that diverged is left at its last good checkpoint."""
        if not training_run.exploded(numbers["fvu"]) and training_run.finite():
            return True
        kept = training_run.checkpointed
        place = f"its checkpoint after {kept} steps is kept" if kept else "it had no checkpoint yet"
        self.diverged[name] = (
            f"{self.folder / name}: diverged at step {training_run.step - 1} of {training_run.how.steps} (FVU "
            f"{numbers['fvu']:.3g}, learning rate {training_run.how.learning_rate:g}); {place}. Lower the learning "
            "rate, and train into another folder"
        )
        return False

    def _log(self, name: str, step: int, numbers: dict[str, float]) -> None:
        ledger = self.ledgers[name]
        if ledger is not None and step > max((record.step for record in ledger.of(StepRecord)[-1:]), default=-1):
            numbers = {**numbers, "dead": int(numbers["dead"])}
            ledger.append(StepRecord(step=step, **numbers))  # type: ignore[arg-type]
        for report in self.reports:
            report(name, step, numbers)


def _finish(folder: Path, training_run: TrainingRun, fields: dict[str, Any]) -> None:
    training_run.write(folder, folder / DECODER, fields)
    training_run.forget_checkpoints(folder / CHECKPOINT)


def _refuse_foreign(folder: Path) -> None:
    """A folder with files in it must hold metrics, or the lock that is there just before them."""
    if not folder.exists() or (folder / METRICS).exists():
        return
    if any(path.is_file() and not path.name.startswith(f".{METRICS}.") for path in folder.iterdir()):
        raise InvalidFile(folder, "is not empty and holds no training run; choose another folder")


def _metrics(folder: Path, identity: dict[str, Any], world: World) -> AbstractContextManager[Ledger | None]:
    """The run's metrics, opened for appending by the process that writes."""
    return Ledger(folder / METRICS, identity) if world.writes else nullcontext()


def _identity(how: Training, stream: ActivationStream, device: torch.device) -> dict[str, Any]:
    """What decides the result."""
    order = {"batch": stream.batch_size, "order_seed": stream.seed, "windows": stream.windows}
    data = {"activations_sha256": stream.sha256, **order, "device": device.type}
    return {"kind": "sae training", **how.identity(), **data}
