"""Activations whose features are known: h = sum_j c_j w_j + b + background + noise.

Everything that SynthSAEBench and SAELens's synthetic models make (firing rates by Zipf's law, rectified Gaussian
magnitudes, a Gaussian copula, a forest of features, directions that are pushed apart), and beside it features on an
expander mask or on blocks, a dense background and noise. Numbers are drawn by this project's own streams, so that
models of one setting have the same law there and here, not the same values.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.optimize import brentq

from expander_theory.base import generator, require, require_choice, require_int, require_seed, stream
from expander_theory.dictionaries import AnyDictionary, BlockDictionary, DenseDictionary, Dictionary
from expander_theory.masks import Mask, uniform_mask
from expander_theory.results import canonical_json
from sae_bridge.synthetic._firing import (
    Correlation,
    Family,
    Floats,
    Hierarchy,
    LowRank,
    family,
    fires,
    own_rates,
    suppress,
)
from sae_bridge.synthetic._spread import spread

Structure = Literal["dense", "expander", "block"]
STRUCTURES = ("dense", "expander", "block")
RateLaw = Literal["zipf", "linear", "random", "constant"]
MeanLaw = Literal["linear", "exponential"]
_MOST_RATE = 0.95


@dataclass(frozen=True)
class Planted:
    """The law of activations with known features.

    Attributes:
        m: width of the activations.
        n: number of features, numbered from the most to the least frequent; n / m is the superposition.
        structure: of their directions: "dense"; "expander", on d rows of a uniform random mask; "block", the first
            ``dense_columns`` dense, the others on a mask.
        d: rows of a feature on the mask.
        dense_columns: of a block structure.
        spread_steps, spread_rate: directions are pushed apart by so many steps of Adam at this rate; 0 leaves them
            Gaussian.
        rates: law of the firing rates: "zipf": rank^-zipf, brought linearly to [least, most]; "linear" from most to
            least; "random", uniform between them; "constant", most.
        zipf, most, least: as above, rates in (0, 1).
        l0: scale all rates by one factor (none above .95) so that their sum is this; None leaves them.
        means: mean activation of the most and of the least frequent feature.
        mean_law: how it goes from one to the other.
        deviation, deviation_spread: the deviation of a feature's activation is |N(deviation, deviation_spread^2)|;
            activations are max(0, mean + deviation e).
        correlation: of firing, or None.
        hierarchy: of features, or None.
        bias: norm of the constant b, of random direction.
        background, background_rank: norm of a dense Gaussian part in so many random directions, root mean square.
        noise: norm of Gaussian noise in all directions, root mean square.
        seed: of everything that is fixed, the directions too.

    Raises:
        InvalidArgument: a value out of range.
    """

    m: int = 64
    n: int = 256
    structure: Structure = "dense"
    d: int = 8
    dense_columns: int = 0
    spread_steps: int = 0
    spread_rate: float = 0.01
    rates: RateLaw = "zipf"
    zipf: float = 0.5
    most: float = 0.4
    least: float = 0.005
    l0: float | None = None
    means: tuple[float, float] = (1.0, 1.0)
    mean_law: MeanLaw = "linear"
    deviation: float = 0.25
    deviation_spread: float = 0.0
    correlation: Correlation | None = None
    hierarchy: Hierarchy | None = None
    bias: float = 0.0
    background: float = 0.0
    background_rank: int = 8
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("m", "n", "d", "background_rank"):
            require(require_int(name, getattr(self, name)) >= 1, name, getattr(self, name), "must be at least 1")
        require_choice("structure", self.structure, STRUCTURES)
        require_choice("rates", self.rates, RateLaw.__args__)
        require_choice("mean_law", self.mean_law, MeanLaw.__args__)
        require(self.structure == "dense" or self.d <= self.m, "d", self.d, f"must be at most m = {self.m}")
        r, block = require_int("dense_columns", self.dense_columns), self.structure == "block"
        allowed = f"must be between 1 and n - 1 = {self.n - 1} for a block structure, 0 otherwise"
        require(1 <= r < self.n if block else r == 0, "dense_columns", r, allowed)
        require(0 < self.least <= self.most < 1, "least", self.least, f"must be in (0, most], most = {self.most} < 1")
        reachable = self.l0 is None or 0 < self.l0 <= _MOST_RATE * self.n
        require(reachable, "l0", self.l0, f"must be positive and at most {_MOST_RATE} n")
        for name in ("zipf", "deviation", "deviation_spread", "bias", "background", "noise", "spread_rate"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "must not be negative")
        require(require_int("spread_steps", self.spread_steps) >= 0, "spread_steps", self.spread_steps, "must be >= 0")
        require(min(self.means) > 0, "means", self.means, "must be positive")
        within = self.background_rank <= self.m
        require(within, "background_rank", self.background_rank, f"must be at most m = {self.m}")
        require_seed(self.seed)
        if self.hierarchy is not None:
            self.hierarchy.parents(self.n)

    def changed(self, **changes: Any) -> Planted:
        """The same with other values."""
        return replace(self, **changes)

    def build(self) -> PlantedFeatures:
        """The features, with everything drawn that is fixed."""
        return PlantedFeatures(self)


SYNTH_SAE_BENCH = Planted(
    m=768,
    n=16_384,
    spread_steps=100,
    spread_rate=3e-4,
    zipf=0.5,
    most=0.4,
    least=5e-4,
    means=(5.0, 4.0),
    deviation=0.5,
    deviation_spread=0.5,
    correlation=LowRank(25, 0.1),
    hierarchy=Hierarchy(roots=128, branching=4, depth=3),
    bias=0.5,
    seed=42,
)
"""The law of SynthSAEBench-16k: 16,384 features in 768 dimensions, about 34 at a time."""


class PlantedFeatures:
    """Known features, ready to be drawn from.

    Args:
        law: what they are.

    Attributes:
        law: the same.
        directions: unit rows, float64 (n, m).
        rates: wanted firing rates, decreasing unless random, (n,).
        means, deviations: of activations, (n,).
        kin: parents and exclusive groups.
        bias: the constant b, (m,).
    """

    def __init__(self, law: Planted) -> None:
        self.law = law
        n, m = law.n, law.m
        self.mask, self.directions = _directions(law)
        self.rates = _rates(law)
        self.kin: Family = family(law.hierarchy, n, generator(law.seed, "exclusive parents"))
        along = np.arange(n) / max(1, n - 1)
        first, last = law.means
        self.means: Floats = (
            first + (last - first) * along if law.mean_law == "linear" else first * (last / first) ** along
        )
        spreads = law.deviation_spread * generator(law.seed, "deviations").standard_normal(n)
        self.deviations: Floats = np.abs(law.deviation + spreads)
        compensated = law.hierarchy is not None and law.hierarchy.compensated
        self._own = own_rates(self.rates, self.kin, compensated=compensated)
        factors = law.correlation and law.correlation.loadings(n, generator(law.seed, "correlation"))
        self._loadings = None if factors is None else factors.astype(np.float32)
        bias = generator(law.seed, "bias").standard_normal(m)
        self.bias: Floats = law.bias * bias / np.linalg.norm(bias)
        basis = generator(law.seed, "background").standard_normal((m, law.background_rank))
        self._background = np.linalg.qr(basis)[0].T * law.background / np.sqrt(law.background_rank)

    @cached_property
    def sha256(self) -> str:
        """Hash of the law."""
        return hashlib.sha256(canonical_json(["planted features", asdict(self.law)]).encode()).hexdigest()

    def dictionary(self) -> AnyDictionary:
        """The directions as a dictionary of their structure, float64: what is proved of it can be asked."""
        if self.mask is None:
            return DenseDictionary(self.directions)
        r = self.law.dense_columns
        values = np.take_along_axis(self.directions[r:], self.mask.rows.astype(np.int64), axis=1)
        masked = Dictionary(self.mask, values)
        return BlockDictionary(DenseDictionary(self.directions[:r]), masked) if r else masked

    def draw(self, tokens: int, key: str, *counter: int) -> tuple[NDArray[np.float32], scipy.sparse.csr_array]:
        """Activations and the features in them.

        Args:
            tokens: how many.
            key: name of a stream of draws; with the counters it names these ones.

        Returns:
            h (tokens, m), float32, and the activations of features as a csr array (tokens, n), float32, positive.
        """
        law = self.law
        rng = stream(hashlib.sha256(f"{self.sha256} {key}".encode()).hexdigest(), *counter)
        active = fires(self._own, self._loadings, tokens, rng)
        suppress(active, self.kin, rng)
        at = np.nonzero(active)
        values = np.maximum(0, self.means[at[1]] + self.deviations[at[1]] * rng.standard_normal(len(at[0])))
        codes: Any = scipy.sparse.csr_array((values, at), shape=active.shape)
        if law.hierarchy is not None and law.hierarchy.scaled:
            codes = self._scaled(codes)
        codes.eliminate_zeros()
        h = codes @ self.directions + self.bias
        if law.background:
            h += rng.standard_normal((tokens, law.background_rank)) @ self._background
        if law.noise:
            h += law.noise / np.sqrt(law.m) * rng.standard_normal((tokens, law.m))
        return h.astype(np.float32), codes.astype(np.float32)

    def _scaled(self, codes: Any) -> Any:
        """Children's activations times their parent's over its mean, from the top down."""
        columns = codes.tocsc()
        whole = np.zeros(codes.shape[0])
        for children in self.kin.levels:
            for child in children:
                parent = int(self.kin.parents[child])
                above, own = (slice(columns.indptr[j], columns.indptr[j + 1]) for j in (parent, child))
                whole[columns.indices[above]] = columns.data[above] / self.means[parent]
                columns.data[own] *= whole[columns.indices[own]]
                whole[columns.indices[above]] = 0
        return columns.tocsr()


def _directions(law: Planted) -> tuple[Mask | None, Floats]:
    """The mask, where there is one, and the directions as unit rows."""
    rng = generator(law.seed, "directions")
    mask, r = None, law.n
    if law.structure != "dense":
        r = law.dense_columns
        mask = uniform_mask(law.m, law.n - r, law.d, seed=law.seed)
    directions = np.zeros((law.n, law.m))
    directions[:r] = rng.standard_normal((r, law.m))
    if mask is not None:
        np.put_along_axis(directions[r:], mask.rows.astype(np.int64), rng.standard_normal(mask.rows.shape), axis=1)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return mask, spread(directions, law.spread_steps, law.spread_rate)


def _rates(law: Planted) -> Floats:
    n, span = law.n, law.most - law.least
    rank = np.arange(1, n + 1)
    if law.rates == "constant" or n == 1:
        found = np.full(n, law.most)
    elif law.rates == "random":
        found = law.least + span * generator(law.seed, "firing rates").random(n)
    elif law.rates == "linear" or law.zipf == 0:
        found = law.most - span * (rank - 1) / (n - 1)
    else:
        power = rank**-law.zipf
        found = law.least + span * (power - power[-1]) / (power[0] - power[-1])
    if law.l0 is None:
        return found

    def missing(log_factor: float) -> float:
        return float(np.minimum(_MOST_RATE, found * np.exp(log_factor)).sum()) - law.l0  # type: ignore[operator]

    factor: Any = brentq(missing, -50.0, 50.0)
    return np.minimum(_MOST_RATE, found * np.exp(factor))
