"""What one piece of work on an SAE of n features takes, in a process of its own for its memory."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from expander_theory.base import ExpanderTheoryError
from expander_theory.solvers import Prepared, choose_backend, omp
from experiments.bench.driver import own_peak
from sae_bridge.sae import Encoder, ExpanderSAE, SparseAutoencoder, TopKSAE
from sae_bridge.training import Training, TrainingRun, World

Work = Literal["TopK code", "TopK step", "OMP code", "OMP step", "dense code", "dense step"]
WORKS: tuple[Work, ...] = get_args(Work)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Asked:
    """What is to be measured: the work, its sizes, how often and on how many threads; Gaussian tokens."""

    work: Work
    m: int
    n: int
    d: int
    k: int
    batch: int
    repeats: int
    threads: int
    seed: int


@dataclass(frozen=True)
class Found:
    """What it took.

    Attributes:
        seconds: of one call on the whole batch, in each repeat after a first call that is not counted.
        peak: bytes that the process held at most: packages, SAE, tokens, and in a step gradient and moments.
        beside: of an OMP code the seconds that each backend takes, the least of as many repeats.
        backend: the one that OMP took.
    """

    seconds: list[float]
    peak: int
    beside: dict[str, float] = field(default_factory=dict)
    backend: str = ""


def measured(asked: Asked) -> dict[str, Any]:
    """What a process of its own finds, JSON-able.

    Raises:
        ExpanderTheoryError: it failed.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(asked, theirs))
    process.start()
    theirs.close()
    try:
        return asdict(ours.recv())
    except EOFError:
        raise ExpanderTheoryError(f"{asked.work} at n = {asked.n} failed: see above") from None
    finally:
        process.join()


def _send(asked: Asked, connection: Connection) -> None:
    connection.send(measure(asked))


def measure(asked: Asked) -> Found:
    """Do the work in this process."""
    torch.set_num_threads(asked.threads)
    x = torch.randn(asked.batch, asked.m, generator=torch.Generator().manual_seed(asked.seed))
    encoder: Encoder = "omp" if asked.work.startswith("OMP") else "tied"
    dense = asked.work.startswith("dense")
    if asked.work.endswith("step"):
        how = Training(
            n=asked.n,
            d=None if dense else asked.d,
            k=asked.k,
            encoder=encoder,
            steps=asked.repeats + 1,
            seed=asked.seed,
        )
        run = TrainingRun(how, x, CPU, World(), {})
        return Found(_seconds(lambda: run.advance(x), asked.repeats), own_peak())
    sae = _sae(asked, encoder, dense).eval()
    with torch.no_grad():
        seconds, peak = _seconds(lambda: sae.encode(x), asked.repeats), own_peak()
        if isinstance(sae, ExpanderSAE) and encoder == "omp":
            return _beside_backends(asked, sae, x, Found(seconds, peak))
    return Found(seconds, peak)


def _sae(asked: Asked, encoder: Encoder, dense: bool) -> SparseAutoencoder:
    how = Training(n=asked.n, d=None if dense else asked.d, k=asked.k, encoder=encoder, seed=asked.seed)
    sae = how.build(asked.m)
    assert isinstance(sae, TopKSAE if dense else ExpanderSAE)
    return sae


def _beside_backends(asked: Asked, sae: ExpanderSAE, x: Tensor, found: Found) -> Found:
    """OMP by every backend that visits columns or rows; which one the SAE took."""
    dictionary, signals = sae.dictionary().astype(np.float32), x.numpy()
    chosen = choose_backend(dictionary, asked.batch, asked.k, signals.dtype)
    prepared = Prepared(dictionary, signals.dtype)
    beside = {
        backend: min(
            _seconds(
                lambda backend=backend: omp(prepared, signals, asked.k, backend=backend, n_jobs=asked.threads),
                asked.repeats,
            )
        )
        for backend in ("tile", "push")
    }
    return Found(found.seconds, found.peak, beside, chosen)


def _seconds(call: Callable[[], object], repeats: int) -> list[float]:
    """Wall time of each repeat, after a first call."""
    call()
    spent = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        spent.append(time.perf_counter() - begun)
    return spent
