"""Ensembles and tasks that the tests of trials share."""

from expander_theory.simulation.trials import (
    Ensemble,
    Success,
    Task,
)

UNIFORM = Ensemble("uniform", 24, 60, 4)
DENSE = Ensemble("dense", 24, 60, 24, "gaussian")
TASK = Task(UNIFORM, 5)
SAME_INSTANCES = [{"solver": "topk"}, {"success": Success("error", 0.1)}, {"precision": "float64"}]
