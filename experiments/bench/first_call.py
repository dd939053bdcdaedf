"""Time of the first call in a fresh process: compilation, or loading from numba's cache.

``python -m experiments.bench.first_call`` prints a JSON line; :func:`first_calls` runs it in processes of their own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path


def first_calls() -> list[dict[str, float]]:
    """CPU seconds of the import, and how much longer a first call takes than a second, by backend and dtype.

    Returns:
        two such dictionaries: with an empty cache, and in the next process.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-m", "experiments.bench.first_call"]
        root = Path(__file__).parents[2]
        runs = [
            subprocess.run(command, env=environment, cwd=root, stdout=subprocess.PIPE, check=True) for _ in range(2)
        ]
    return [json.loads(run.stdout) for run in runs]


def _measure() -> dict[str, float]:
    begun = time.process_time()
    import numpy as np

    from experiments.bench.omp_peers import ours
    from experiments.bench.omp_work import MODELS
    from experiments.bench.sizes import SIZES, make_problem

    seconds = {"import": time.process_time() - begun}
    for dtype in ("float32", "float64"):
        problem = make_problem(SIZES["A"], 64, np.dtype(dtype), seed=0)
        for backend in MODELS:
            calls = []
            for _ in range(2):
                begun = time.process_time()
                ours(backend).start(problem)(64)
                calls.append(time.process_time() - begun)
            seconds[f"{backend}, {dtype}"] = max(0.0, calls[0] - calls[1])
    return seconds


def first_calls_table(runs: Sequence[dict[str, float]]) -> str:
    """CPU seconds of first calls, compiled and from the cache."""
    from experiments.bench.table import markdown

    rows = [[name, *(f"{run[name]:.2f}" for run in runs)] for name in runs[0]]
    rows.append(["all", *(f"{sum(run.values()):.2f}" for run in runs)])
    return markdown(rows, ("first call", "compiled, s", "from the cache, s"))


if __name__ == "__main__":
    print(json.dumps(_measure()))
