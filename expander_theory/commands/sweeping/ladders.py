"""The ladders of ``expander sweep``: its grid of sizes, with everything else that a task holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from expander_theory.base import InvalidArgument, Plugin, names_plugin, require
from expander_theory.commands.sweeping.options import Dictionaries, Grid, Signals
from expander_theory.dictionaries import ENSEMBLE_FAMILIES, Ensemble
from expander_theory.masks import LIMIT, MASK_FAMILIES
from expander_theory.simulation import LAWS, MEASURES, NOISES, CodeLaw, Ladder, Noise, Success, Task, solver_or_plugin


def grid_ladders(
    dictionaries: Dictionaries, grid: Grid, signals: Signals, seed: int, *, resolution: float | None = None
) -> list[Ladder]:
    """One ladder a family, size and solver, in the order of the options.

    Args:
        resolution: for a grid whose sparsities are not given: how finely to lay them, in k/m; default: steps of 0.05.

    Raises:
        InvalidArgument: an option out of range, among them sizes outside 1 <= k <= m <= n, or options that do not go
            together.
        InvalidFile: --dictionary, --firing, --codes or a file with a function cannot be read.
    """
    require(len(dictionaries.family) > 0, "family", "none", "must name at least one")
    require(len(signals.solver) > 0, "solver", "none", "must name at least one")
    _require_named("family", dictionaries.family, ENSEMBLE_FAMILIES)
    solvers = [solver_or_plugin("solver", name) for name in signals.solver]
    codes, noise = _codes(signals), _noise(signals)
    stored = _stored(dictionaries)
    ladders = []
    for family in dict.fromkeys(dictionaries.family):
        for m, n, ks in _sizes(grid, family, stored, dictionaries.d, resolution):
            require(m <= n, "n", n, f"must be at least m = {m}")
            ensemble = stored if stored and family == "file" else _ensemble(dictionaries, family, m, n, stored)
            for solver in solvers:
                success = _success(signals, solver)
                one = _Given(ensemble, codes, noise, success, solver)
                tasks = [_task(one, k, dictionaries, signals, seed) for k in sorted(set(ks))]
                ladders.append(Ladder(tasks[0], tuple(task.k for task in tasks)))
    return list(dict.fromkeys(ladders))


@dataclass(frozen=True)
class _Given:
    """What the tasks of a ladder have in common."""

    ensemble: Ensemble
    codes: CodeLaw
    noise: Noise
    success: Success
    solver: str | Plugin


def _task(given: _Given, k: int, dictionaries: Dictionaries, signals: Signals, seed: int) -> Task:
    stored = given.ensemble.family == "file"
    return Task(
        given.ensemble,
        k,
        codes=given.codes,
        noise=given.noise,
        success=given.success,
        solver=given.solver,
        dictionaries="fixed" if stored else dictionaries.dictionaries,
        signals_per_dictionary=1 if stored else dictionaries.signals_per_dictionary,
        precision=signals.precision,
        seed=seed,
    )


def _require_named(name: str, given: tuple[str, ...], choices: tuple[str, ...]) -> None:
    """Each is one of the choices, or the place of a function."""
    allowed = f"must be one of {', '.join(choices)}, or path/to/file.py:function, or package.module:function"
    for one in given:
        require(one in choices or names_plugin(one), name, one, allowed)


def _codes(signals: Signals) -> CodeLaw:
    own = names_plugin(signals.coefficients)
    if signals.codes is not None:
        allowed = "does not go with --codes, which have coefficients"
        require(signals.coefficients == Signals.coefficients, "coefficients", signals.coefficients, allowed)
        law, plugin = "file", None
    else:
        _require_named("coefficients", (signals.coefficients,), tuple(law for law in LAWS if law not in _OWN))
        law, plugin = ("user", Plugin.of("coefficients", signals.coefficients)) if own else (signals.coefficients, None)
    file = str(signals.codes.absolute()) if signals.codes is not None else ""
    return CodeLaw(law, signals.decay, signals.range, firing=str(signals.firing or ""), file=file, plugin=plugin)


def _noise(signals: Signals) -> Noise:
    _require_named("noise", (signals.noise,), tuple(kind for kind in NOISES if kind not in _OWN))
    if names_plugin(signals.noise):
        return Noise("user", signals.sigma, plugin=Plugin.of("noise", signals.noise))
    return Noise(signals.noise, signals.sigma)


def _success(signals: Signals, solver: str | Plugin) -> Success:
    _require_named("success", (signals.success,), tuple(measure for measure in MEASURES if measure not in _OWN))
    if names_plugin(signals.success):
        return Success("user", signals.threshold, plugin=Plugin.of("success", signals.success))
    early = signals.success == "support" and solver == "omp" and not signals.measure_errors
    return Success(signals.success, signals.threshold, early_stop=early)


_OWN = ("user", "file")  # said by the place of a function, or by --codes


def _stored(dictionaries: Dictionaries) -> Ensemble | None:
    path, wanted = dictionaries.dictionary, "file" in dictionaries.family
    if path is None:
        require(not wanted, "dictionary", "not given", "--family file needs --dictionary")
        return None
    return Ensemble.from_file(path.absolute())


def _ensemble(dictionaries: Dictionaries, family: str, m: int, n: int, stored: Ensemble | None) -> Ensemble:
    if names_plugin(family):
        return Ensemble.from_function(family, m, n, dictionaries.d)
    if family == "dense":
        return Ensemble(family, m, n, m, "gaussian")
    default = 8 if stored is None else stored.d
    d = default if dictionaries.d is None else dictionaries.d
    return Ensemble(family, m, n, d, dictionaries.values, dictionaries.flatness)


def _sizes(
    grid: Grid, family: str, stored: Ensemble | None, d: int | None, resolution: float | None
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """(m, n, sparsities) of the grid, for one family."""
    for name in ("m_over_n", "k_over_m"):
        for ratio in getattr(grid, name):
            require(0 < ratio <= 1, name.replace("_", "-"), ratio, "must be in (0, 1]")
    if stored is not None:
        _require_absent(grid, ("n", "m_over_n", "m", "ns"), "does not go with --dictionary, which has a size")
        require(not grid.ks or not grid.k_over_m, "k-over-m", grid.k_over_m, "does not go with --ks")
        yield stored.m, stored.n, grid.ks or _sparsities(grid, stored.m, resolution)
    elif grid.m is not None:
        require(bool(grid.ns) and bool(grid.ks), "m", grid.m, "goes with --ns and --ks")
        _require_absent(grid, ("n", "m_over_n", "k_over_m"), "does not go with --m")
        for n in grid.ns:
            yield grid.m, n, grid.ks
    else:
        _require_absent(grid, ("ns", "ks"), "goes with --m")
        n = 512 if grid.n is None else grid.n
        require(1 <= n < LIMIT, "n", n, "must be a positive 32-bit integer")
        for ratio in grid.m_over_n or _steps(0.1, 9):
            m = _rows(family, n * ratio, 8 if d is None else d)
            yield m, n, _sparsities(grid, m, resolution)


def _require_absent(grid: Grid, names: tuple[str, ...], allowed: str) -> None:
    for name in names:
        given = getattr(grid, name)
        if given not in (None, ()):
            shown = " ".join(map(str, given)) if isinstance(given, tuple) else given
            raise InvalidArgument(name.replace("_", "-"), shown, allowed)


def _sparsities(grid: Grid, m: int, resolution: float | None) -> tuple[int, ...]:
    if resolution is not None and not grid.k_over_m:
        step = max(1, int(resolution * m / 2))  # four steps across the bracket that is wanted
        return tuple(range(step, max(step, int(0.6 * m)) + 1, step))
    return tuple(max(1, round(m * ratio)) for ratio in grid.k_over_m or _steps(0.05, 12))


def _steps(step: float, count: int) -> tuple[float, ...]:
    return tuple(round(step * (i + 1), 6) for i in range(count))


def _rows(family: str, m: float, d: int) -> int:
    """The m nearest to the one asked for that the family has."""
    return MASK_FAMILIES[family].rows_near(m, d) if family in MASK_FAMILIES else max(1, round(m))
