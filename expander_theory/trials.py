"""What one recovery trial is: a task names it completely, and (task, trial index) decides its outcome."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from expander_theory.dictionary import AnyDictionary, Floats
from expander_theory.ensembles import dense_gaussian_dictionary, flat_dictionary, gaussian_dictionary, sign_dictionary
from expander_theory.errors import require, require_choice, require_int
from expander_theory.files import canonical_json
from expander_theory.masks import Mask, polynomial_mask, uniform_mask
from expander_theory.masks.algebraic import is_prime_power, require_polynomial
from expander_theory.problems import COEFFICIENTS, Coefficients, sparse_code
from expander_theory.seeds import Seed, generator, require_seed, stream
from expander_theory.solvers import SOLVERS

FAMILIES = ("uniform", "polynomial", "dense")
VALUES = ("signs", "gaussian", "flat")


@dataclass(frozen=True)
class Ensemble:
    """A family of random dictionaries.

    Attributes:
        family: mask: "uniform" left-d-regular, "polynomial" over GF(m/d), or "dense" (no mask, Gaussian).
        m: rows.
        n: columns.
        d: left degree; m for "dense".
        values: "signs", "gaussian" or "flat" (of the given flatness); "gaussian" for "dense".
        flatness: C_j for "flat" values, 0 otherwise.

    Raises:
        InvalidArgument: a combination that no dictionary has.
    """

    family: str
    m: int
    n: int
    d: int
    values: str = "signs"
    flatness: float = 0.0

    def __post_init__(self) -> None:
        require_choice("family", self.family, FAMILIES)
        require_choice("values", self.values, VALUES)
        for name in ("m", "n", "d"):
            object.__setattr__(self, name, require_int(name, getattr(self, name)))
        require(self.m >= 1, "m", self.m, "must be at least 1")
        require(self.n >= 1, "n", self.n, "must be at least 1")
        require(1 <= self.d <= self.m, "d", self.d, f"must be between 1 and m = {self.m}")
        if self.family == "dense":
            require(self.d == self.m, "d", self.d, f"must be m = {self.m} for a dense dictionary")
            require(self.values == "gaussian", "values", self.values, "must be gaussian for a dense dictionary")
        if self.family == "polynomial":
            q = self.m // self.d
            allowed = f"must be d q = {self.d} q, q a prime power, for a polynomial mask"
            require(self.m % self.d == 0 and is_prime_power(q), "m", self.m, allowed)
            require_polynomial(q, self.d, self._r, self.n)
        if self.values == "flat":
            limit = math.sqrt(self.d)
            allowed = f"must be between 1 and sqrt(d) = {limit:.6g} for flat values"
            require(1 <= self.flatness <= limit * (1 + 1e-12), "flatness", self.flatness, allowed)
        else:
            require(self.flatness == 0, "flatness", self.flatness, f"must be 0 (not given) for {self.values} values")

    @property
    def _r(self) -> int:
        """Fewest coefficients that give n polynomials over GF(m / d)."""
        q, r = max(2, self.m // self.d), 1
        while q**r < self.n:
            r += 1
        return r

    def draw(self, seed: Seed) -> AnyDictionary:
        """One dictionary of the ensemble (float64). A polynomial mask is fixed; its values are random."""
        rng = generator(seed, "ensemble")
        if self.family == "dense":
            return dense_gaussian_dictionary(self.m, self.n, seed=rng)
        if self.family == "polynomial":
            mask = _polynomial(self.m // self.d, self.d, self._r, self.n)
        else:
            mask = uniform_mask(self.m, self.n, self.d, seed=rng)
        if self.values == "flat":
            return flat_dictionary(mask, flatness=self.flatness, seed=rng)
        return (sign_dictionary if self.values == "signs" else gaussian_dictionary)(mask, seed=rng)


@lru_cache(maxsize=4)
def _polynomial(q: int, d: int, r: int, n: int) -> Mask:
    """The mask of a polynomial ensemble: the same for all its trials."""
    return polynomial_mask(q, d, r=r, n=n)


@dataclass(frozen=True)
class Task:
    """One cell of a sweep: planted k-sparse codes on dictionaries of one ensemble, no noise.

    Trial t succeeds when the solver, given k, returns exactly the planted support. Trials
    t = i s, ..., (i + 1) s - 1 (s = ``signals_per_dictionary``) share dictionary i; with the default
    of 1 the trials are independent, as the intervals assume (THEORY.md STAT-2).

    Attributes:
        ensemble: the dictionaries.
        k: sparsity of the planted codes, 1..min(m, n).
        coefficients: law of the nonzeros, see :func:`expander_theory.problems.sparse_code`.
        solver: name in :data:`expander_theory.solvers.SOLVERS`.
        signals_per_dictionary: consecutive trials that share a dictionary.
        seed: non-negative.
    """

    ensemble: Ensemble
    k: int
    coefficients: Coefficients = "gaussian"
    solver: str = "omp"
    signals_per_dictionary: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("k", "signals_per_dictionary"):
            object.__setattr__(self, name, require_int(name, getattr(self, name)))
        limit = min(self.ensemble.m, self.ensemble.n)
        require(1 <= self.k <= limit, "k", self.k, f"must be between 1 and min(m, n) = {limit}")
        require_choice("coefficients", self.coefficients, COEFFICIENTS)
        require_choice("solver", self.solver, tuple(SOLVERS))
        shared = self.signals_per_dictionary
        require(shared >= 1, "signals_per_dictionary", shared, "must be at least 1")
        require_seed(self.seed)
        object.__setattr__(self, "seed", int(self.seed))

    @cached_property
    def id(self) -> str:
        """SHA-256 (hex) of the task's content: its name in ledgers and the key of its random streams."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()

    def dictionary(self, index: int) -> AnyDictionary:
        """Dictionary ``index`` of this task."""
        return self.ensemble.draw(stream(self.id, index, 0))

    def code(self, trial: int) -> Floats:
        """The planted code of one trial, shape (n,)."""
        index, signal = divmod(trial, self.signals_per_dictionary)
        rng = stream(self.id, index, 1, signal)
        return sparse_code(self.ensemble.n, self.k, coefficients=self.coefficients, seed=rng)


def run_trials(task: Task, first: int, count: int) -> str:
    """Run trials first .. first + count - 1.

    Returns:
        one character a trial: "1" for exact support recovery, "0" otherwise. It depends on the
        task and the trial index only, never on how a sweep is cut into calls.
    """
    outcome = []
    trial, end = first, first + count
    while trial < end:
        index = trial // task.signals_per_dictionary
        stop = min(end, (index + 1) * task.signals_per_dictionary)
        codes = np.stack([task.code(t) for t in range(trial, stop)])
        success = recovered(task.dictionary(index), codes, task.k, task.solver)
        outcome += ["1" if s else "0" for s in success]
        trial = stop
    return "".join(outcome)


def recovered(dictionary: AnyDictionary, codes: Floats, k: int, solver: str = "omp") -> NDArray[np.bool_]:
    """Whether the solver finds exactly the support of each k-sparse code from W x, shape (batch,)."""
    found = SOLVERS[solver](dictionary, dictionary.matvec(codes), k).supports
    planted = np.sort(np.argpartition(-np.abs(codes), k - 1, axis=1)[:, :k], axis=1)
    return (found == planted).all(axis=1)
