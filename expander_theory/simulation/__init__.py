"""Simulated recovery: planted problems, tasks, trials, sweeps and their cells."""

from expander_theory.simulation._stored_codes import codes_hash, load_codes, strongest_entries
from expander_theory.simulation.brought import UserCodes, UserCriterion, UserNoise
from expander_theory.simulation.cells import Cell, blocks_of, boundaries, cell_rows, cells
from expander_theory.simulation.estimate import Estimate, estimate_sweep
from expander_theory.simulation.execution.executors import dask_executor, open_workers
from expander_theory.simulation.execution.rounds import Rounds
from expander_theory.simulation.execution.slurm import submit_shards
from expander_theory.simulation.export import csv_rows, is_of_task, is_sweep, ledger_rows, write_parquet
from expander_theory.simulation.planted import PlantedRate, planted_recovery
from expander_theory.simulation.problems import LAWS, NOISES, CodeLaw, Noise, PlantedCodes, planted_codes, sparse_code
from expander_theory.simulation.recovery import Outcomes, recover_planted, recovered, signals_of, solver_named
from expander_theory.simulation.schedules.boundary_search import FindBoundary, FitBoundary
from expander_theory.simulation.schedules.ladders import Ladder, Schedule
from expander_theory.simulation.schedules.schedule import FixedTrials, ResolveCells
from expander_theory.simulation.sweep import run_certificates, run_sweep
from expander_theory.simulation.tasks import MEASURES, Success, Task, content, solver_or_plugin
from expander_theory.simulation.trials import run_block

__all__ = [
    "LAWS",
    "MEASURES",
    "NOISES",
    "Cell",
    "CodeLaw",
    "Estimate",
    "FindBoundary",
    "FitBoundary",
    "FixedTrials",
    "Ladder",
    "Noise",
    "Outcomes",
    "PlantedCodes",
    "PlantedRate",
    "ResolveCells",
    "Rounds",
    "Schedule",
    "Success",
    "Task",
    "UserCodes",
    "UserCriterion",
    "UserNoise",
    "blocks_of",
    "boundaries",
    "cell_rows",
    "cells",
    "codes_hash",
    "content",
    "csv_rows",
    "dask_executor",
    "estimate_sweep",
    "is_of_task",
    "is_sweep",
    "ledger_rows",
    "load_codes",
    "open_workers",
    "planted_codes",
    "planted_recovery",
    "recover_planted",
    "recovered",
    "run_block",
    "run_certificates",
    "run_sweep",
    "signals_of",
    "solver_named",
    "solver_or_plugin",
    "sparse_code",
    "strongest_entries",
    "submit_shards",
    "write_parquet",
]
