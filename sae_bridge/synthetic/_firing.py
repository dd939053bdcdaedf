"""Which known features fire together: correlation by a Gaussian copula, and a forest of parents and children."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from expander_theory.base import require, require_int

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_LEAST_OWN = 0.01
"""Of a feature's latent variance the least that is its own."""


@dataclass(frozen=True)
class LowRank:
    """Correlated firing by common factors: g = F u + sqrt(1 - |F_j|^2) e, where F has N(0, scale^2) entries.

    Attributes:
        rank: number of factors.
        scale: of their loadings; rank scale^2 is the share of variance in common, at most 99 % of each feature.
    """

    rank: int = 32
    scale: float = 0.1

    def __post_init__(self) -> None:
        require(require_int("rank", self.rank) >= 1, "rank", self.rank, "must be at least 1")
        require(self.scale >= 0, "scale", self.scale, "must not be negative")

    def loadings(self, n: int, rng: np.random.Generator) -> Floats:
        """(n, rank): what each feature takes of each factor."""
        loadings = self.scale * rng.standard_normal((n, self.rank))
        shared = (loadings**2).sum(axis=1)
        most = 1 - _LEAST_OWN
        return loadings * np.sqrt(np.where(shared > most, most / np.where(shared > 0, shared, 1), 1))[:, None]


@dataclass(frozen=True)
class RandomPairs:
    """Correlated firing by pairs: each pair of features has its own correlation, or none.

    Attributes:
        none: share of pairs without correlation.
        positive: share of the others that have a positive one.
        least, most: |correlation| is uniform between them; clipped eigenvalues then make the matrix a correlation.
    """

    none: float = 0.3
    positive: float = 0.5
    least: float = 0.1
    most: float = 0.8

    def __post_init__(self) -> None:
        for name in ("none", "positive"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "must be in [0, 1]")
        require(0 <= self.least <= self.most < 1, "least", self.least, f"must be in [0, most], most = {self.most} < 1")

    def loadings(self, n: int, rng: np.random.Generator) -> Floats:
        """(n, n) with unit rows: a square root of the correlation matrix. Cubic in n."""
        upper = np.triu_indices(n, 1)
        count = len(upper[0])
        signs = np.where(rng.random(count) < self.positive, 1.0, -1.0)
        sizes = rng.uniform(self.least, self.most, count) * (rng.random(count) >= self.none)
        matrix = np.eye(n)
        matrix[upper] = signs * sizes
        matrix.T[upper] = matrix[upper]
        values, vectors = np.linalg.eigh(matrix)
        root = vectors * np.sqrt(np.maximum(values, 1e-6))
        return root / np.linalg.norm(root, axis=1, keepdims=True)


Correlation = LowRank | RandomPairs


@dataclass(frozen=True)
class Hierarchy:
    """A forest: a child fires only where its parent does.

    Numbers are given level by level, so that parents are more frequent than children; features that are left over are
    in no tree.

    Attributes:
        roots: number of trees.
        branching: children of a parent.
        depth: levels below the root.
        exclusive: share of the parents of whose children at most one fires at a time.
        scaled: a child's activation is multiplied by its parent's, over the parent's mean.
        compensated: firing rates are raised for what parents and siblings suppress, so that about the wanted ones
            are left.
    """

    roots: int = 8
    branching: int = 4
    depth: int = 2
    exclusive: float = 1.0
    scaled: bool = True
    compensated: bool = True

    def __post_init__(self) -> None:
        for name, least in (("roots", 1), ("branching", 2), ("depth", 1)):
            value = require_int(name, getattr(self, name))
            require(value >= least, name, value, f"must be at least {least}")
        require(0 <= self.exclusive <= 1, "exclusive", self.exclusive, "must be in [0, 1]")

    def parents(self, n: int) -> Integers:
        """The parent of each of n features, -1 for none.

        Raises:
            InvalidArgument: trees of more than n features.
        """
        sizes = [self.roots * self.branching**level for level in range(self.depth + 1)]
        require(sum(sizes) <= n, "hierarchy", f"of {sum(sizes)} features", f"must have at most n = {n}")
        found = np.full(n, -1, np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        for level in range(1, self.depth + 1):
            children = np.arange(sizes[level])
            found[starts[level] + children] = starts[level - 1] + children // self.branching
        return found


@dataclass(frozen=True)
class Family:
    """Parents, levels and exclusive groups as arrays.

    Attributes:
        parents: (n,), -1 for none.
        levels: children by level, from the first below the roots.
        groups: of exclusive siblings, (groups, branching), by the level of the siblings.
    """

    parents: Integers
    levels: tuple[Integers, ...]
    groups: tuple[Integers, ...]


def family(hierarchy: Hierarchy | None, n: int, rng: np.random.Generator) -> Family:
    """The family that a hierarchy has among n features, with its exclusive parents drawn."""
    if hierarchy is None:
        return Family(np.full(n, -1, np.int64), (), ())
    parents = hierarchy.parents(n)
    levels, groups, above = [], [], np.arange(hierarchy.roots)
    for _ in range(hierarchy.depth):
        below = np.flatnonzero(np.isin(parents, above))
        chosen = rng.permutation(above)[: int(hierarchy.exclusive * len(above))]
        levels.append(below)
        groups.append(np.stack([np.flatnonzero(parents == p) for p in np.sort(chosen)]) if len(chosen) else _NO_GROUP)
        above = below
    return Family(parents, tuple(levels), tuple(groups))


_NO_GROUP = np.empty((0, 0), np.int64)


def own_rates(rates: Floats, kin: Family, *, compensated: bool) -> Floats:
    """The rate at which each feature fires by itself, before parents and siblings suppress it.

    A child's is over its parent's rate, and in an exclusive group times 1 + sum of its siblings' conditional rates: to
    first order what is lost. At most 1. (The compensation of SynthSAEBench.)
    """
    if not compensated:
        return rates
    child = kin.parents >= 0
    given = np.where(child, rates / rates[kin.parents], rates)
    raised = given.copy()
    for group in (g for level in kin.groups for g in level):
        raised[group] = given[group] * (1 + given[group].sum() - given[group])
    return np.minimum(raised, 1.0)


def fires(
    rates: Floats, loadings: NDArray[np.float32] | None, batch: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which features fire by themselves, (batch, n): the latent g_j exceeds the quantile 1 - p_j."""
    g = rng.standard_normal((batch, len(rates)), dtype=np.float32)
    if loadings is not None:
        own = np.sqrt(np.maximum(0, 1 - (loadings.astype(np.float64) ** 2).sum(axis=1))).astype(np.float32)
        g *= own
        g += rng.standard_normal((batch, loadings.shape[1]), dtype=np.float32) @ loadings.T
    return g > (-ndtri(rates)).astype(np.float32)


def suppress(active: NDArray[np.bool_], kin: Family, rng: np.random.Generator) -> None:
    """Silence, in place, children without their parent and all but one of exclusive siblings; level by level."""
    for children, groups in zip(kin.levels, kin.groups, strict=True):
        active[:, children] &= active[:, kin.parents[children]]
        if groups.size:
            siblings = active[:, groups]  # (batch, groups, branching)
            draws = np.where(siblings, rng.random(siblings.shape), -1.0)
            active[:, groups] = siblings & (np.arange(groups.shape[1]) == draws.argmax(axis=2)[..., None])
