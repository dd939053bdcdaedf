"""What one method does on one problem, in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from expander_theory import BlockDictionary, omp
from expander_theory.base import ExpanderTheoryError
from expander_theory.dictionaries import AnyDictionary
from experiments.bench.dictionary_learning.methods import METHODS
from experiments.bench.dictionary_learning.problems import PROBLEMS, Problem
from experiments.bench.driver import peak_bytes

Record = dict[str, Any]

WARM = 120
"""Samples of the problem for a first fit, not measured, which loads and compiles what the method needs."""


def measured(problem: str, method: int, seed: int) -> Record:
    """What a process of its own measures of one method (by its place) on one problem (by its name)."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(problem, method, seed, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise ExpanderTheoryError(f"{METHODS[method].name} failed on {problem}: see above") from None
    finally:
        process.join()


def _measure(name: str, place: int, seed: int, connection: Connection) -> None:
    method, problem = METHODS[place], PROBLEMS[name](seed)
    some = problem.train[:WARM]
    method.fit(replace(problem, train=some, n=min(problem.n, len(some) // 2)), seed)
    found: list[tuple[AnyDictionary, float]] = []

    def fit() -> None:
        begun = time.process_time()
        dictionary = method.fit(problem, seed)
        found.append((dictionary, time.process_time() - begun))

    peak = peak_bytes(fit)
    dictionary, seconds = found[0]
    connection.send(
        {
            "problem": problem.text,
            "data": name,
            "method": method.name,
            "fvu": _fvu(dictionary, problem),
            "seconds": seconds,
            "peak": peak,
            "values": 0 if method.formula else _values(dictionary),
        }
    )


def _fvu(dictionary: AnyDictionary, problem: Problem) -> float:
    return float(np.square(omp(dictionary, problem.held_out, problem.k).residual_norms).sum() / problem.energy)


def _values(dictionary: AnyDictionary) -> int:
    """Numbers that a dictionary stores, the places of nonzeros not counted."""
    if isinstance(dictionary, BlockDictionary):
        return dictionary.dense.values.size + dictionary.masked.values.size
    return dictionary.values.size
