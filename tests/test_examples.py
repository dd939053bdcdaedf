"""The functions in ``examples``: each through a tiny sweep, and the command that each file shows."""

import ast
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from expander_theory.base import Plugin
from expander_theory.cli import main
from expander_theory.commands.sweeping.sweep import Sweep
from expander_theory.results.ledger import Ledger
from expander_theory.simulation import FixedTrials, Ladder, Success, Task, run_sweep
from expander_theory.simulation.trials import Ensemble

FOLDER = Path(__file__).parents[1] / "examples"
FILES = sorted(FOLDER.glob("*.py"))
GAUSSIAN, MASKED = Ensemble("dense", 40, 64, 40, "gaussian"), Ensemble("uniform", 40, 64, 8)
SOLVERS = {
    "amp_solver.py:amp": None,
    "lasso_solvers.py:sklearn_lasso": "sklearn",
    "lasso_solvers.py:skglm_lasso": "skglm",
}
LAWS = ["fourier_dictionaries.py:partial_fourier"]


def rates(folder, task, ks):
    """Of recovery, by sparsity; no block may fail."""
    with Ledger(folder / "ledger.jsonl", {}) as ledger:
        found = run_sweep([Ladder(task, ks)], FixedTrials(25), ledger, progress=False, retries=0)
    assert [cell.trials for cell in found] == [25] * len(ks)
    return [cell.rate for cell in found]


@pytest.mark.parametrize("ensemble", [GAUSSIAN, MASKED], ids=["dense", "masked"])
@pytest.mark.parametrize("place", SOLVERS)
def test_the_solvers_recover_sparse_codes_and_no_full_ones(tmp_path, place, ensemble):
    if SOLVERS[place]:
        pytest.importorskip(SOLVERS[place])
    few, many = rates(tmp_path, Task(ensemble, 1, solver=f"{FOLDER / place}"), (1, 20))
    assert few >= (0.9 if ensemble is GAUSSIAN else 0.5)
    assert many <= 0.2


def test_amp_reaches_small_errors_on_gaussian_dictionaries(tmp_path):
    task = Task(GAUSSIAN, 1, success=Success("error", 0.1), solver=f"{FOLDER / 'amp_solver.py'}:amp")
    few, many = rates(tmp_path, task, (2, 20))
    assert few > 0.6 > 0.2 >= many


def test_fourier_dictionaries_are_rows_of_an_orthonormal_transform(tmp_path):
    ensemble = Ensemble.from_function(f"{FOLDER / LAWS[0]}", 40, 64)
    drawn = Plugin.of("law", f"{FOLDER / LAWS[0]}")(40, 64, 40, np.random.default_rng(0))
    np.testing.assert_allclose(drawn @ drawn.T, np.eye(40), atol=1e-12)
    assert not np.array_equal(ensemble.draw(0).to_dense(), ensemble.draw(1).to_dense())
    few, many = rates(tmp_path, Task(ensemble, 1), (2, 30))
    assert few == 1 > 0.1 >= many


def test_every_function_of_the_examples_is_swept_here():
    named = {f"{path.name}:{node.name}" for path in FILES for node in ast.parse(path.read_text()).body
             if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}  # fmt: skip
    assert named == {*SOLVERS, *LAWS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_command_that_a_file_shows_parses(path, tmp_path, monkeypatch):
    text = ast.get_docstring(ast.parse(path.read_text()))
    (shown,) = re.findall(r"^ *(expander sweep (?:.*\\\n)*.*)$", text, re.MULTILINE)
    words = shlex.split(shown.replace("\\\n", " "))
    seen = []
    monkeypatch.setattr(Sweep, "run", lambda self: seen.append(self))
    monkeypatch.chdir(tmp_path)
    main(words[1:])
    (sweep,) = seen
    places = [word for word in (*sweep.signals.solver, *sweep.dictionaries.family) if ":" in word]
    assert places
    for place in places:
        assert place.startswith(f"examples/{path.name}:")
        assert Plugin.of("place", str(FOLDER.parent / place)).name == place.rpartition(":")[2]
