"""Where training metrics go besides ``metrics.jsonl``: TensorBoard and Weights & Biases, on request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from expander_theory.base import MissingResource

SinkName = Literal["tensorboard", "wandb"]


class Sink(Protocol):
    """Takes the numbers of one step of one SAE."""

    def __call__(self, name: str, step: int, numbers: Mapping[str, float]) -> None: ...


@contextmanager
def sinks(names: Iterable[SinkName], folder: Path, about: Mapping[str, Any]) -> Iterator[list[Sink]]:
    """The asked-for sinks, closed at the end.

    Args:
        names: "tensorboard" writes event files into ``folder``/tensorboard; "wandb" opens one run (its project, mode
            and key come from its own settings, WANDB_PROJECT and so on).
        about: the configuration that the run is filed under.

    Raises:
        MissingResource: the package is not installed.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(_OPEN[name](folder, about)) for name in names]


@contextmanager
def _tensorboard(folder: Path, about: Mapping[str, Any]) -> Iterator[Sink]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingResource("TensorBoard is not installed: run `pip install tensorboard`") from None
    with SummaryWriter(str(folder / "tensorboard")) as writer:

        def write(name: str, step: int, numbers: Mapping[str, float]) -> None:
            for key, value in numbers.items():
                writer.add_scalar(f"{name}/{key}", value, step)

        yield write


@contextmanager
def _wandb(folder: Path, about: Mapping[str, Any]) -> Iterator[Sink]:
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingResource("Weights & Biases is not installed: run `pip install wandb`") from None
    with wandb.init(dir=str(folder), config=dict(about)) as run:
        # Several SAEs, and a resumed run, write steps out of order: each SAE has its own axis.
        run.define_metric("*", step_metric="step")

        def write(name: str, step: int, numbers: Mapping[str, float]) -> None:
            run.log({"step": step, **{f"{name}/{key}": value for key, value in numbers.items()}})

        yield write


_OPEN = {"tensorboard": _tensorboard, "wandb": _wandb}
