"""One SAE of the suite: architecture, mask, training, and what it is compared as."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from expander_theory.masks import MASK_FAMILIES, Mask, build_mask
from sae_bridge.training import Training

_EULER = "partial-euler-square"
"""What the suite calls "euler-square": an SAE has seldom as many features as a whole one."""


@dataclass(frozen=True)
class Variant:
    """One architecture with its training; seeds are added where it is trained.

    Attributes:
        name: unique in a setting, part of file names.
        label: for figures.
        training: the recipe; the learning rate and the seed are filled in.
        family: of a mask that is built and saved first; "" for what the recipe makes itself.
        rate_of: the variant whose learning rate it takes; None: its own, from the sweep.
        rate_factor: times that rate.
        pruned: "", "pruned" (the dense SAE of the same seed cut to d values a column, not trained on) or "retuned".
        stored: learned decoder values, where they are fewer than the nonzeros (a factored decoder).
    """

    name: str
    label: str
    training: Training
    family: str = ""
    rate_of: Variant | None = None
    rate_factor: float = 1.0
    pruned: str = ""
    stored: int | None = None


def control_mask(family: str, m: int, n: int, d: int, seed: int) -> Mask:
    """A mask by the name of its family.

    Raises:
        ExpanderTheoryError: no such mask of this size, and why.
    """
    return build_mask(_EULER if family == "euler-square" else family, m, n, d, seed=seed)


def has_euler_mask(m: int, n: int, d: int) -> bool:
    """Whether there is a mask of overlap at most 1 of this size by that construction."""
    return MASK_FAMILIES[_EULER].exists(m, n, d)


def architecture(base: Training, d: int | None) -> Variant:
    """The plain SAE of a degree on a uniform mask; None is dense."""
    name = "dense" if d is None else f"d{d}"
    return Variant(name, "dense" if d is None else f"d = {d}", replace(base, d=d))


def certified(base: Training, d: int) -> Variant:
    """The SAE on a mask whose columns share at most one row."""
    return Variant(f"euler-d{d}", f"d = {d}, overlap <= 1", replace(base, d=d), "euler-square")


def small_dense(base: Training, m: int, d: int) -> Variant:
    """The dense SAE with as many decoder values as degree d has: n' = n d / m features."""
    n = max(1, round(base.n * d / m))
    return Variant(f"dense-n{n}", f"dense, n = {n}", replace(base, d=None, n=n, k=min(base.k, n)))


def controls(base: Training, m: int, d: int) -> list[Variant]:
    """The architectures that are compared at d n decoder values, the expander first.

    Dense SAEs with encoders of their own, which have more values, come last: they are the paper's references.
    """
    n = base.n
    plain, dense = architecture(base, d), replace(base, d=None)
    expander = plain.training
    rank = max(1, round(d * n / (m + n)))
    return [
        plain,
        *([certified(base, d)] if has_euler_mask(m, n, d) else []),
        Variant(f"overlap-limited-d{d}", "overlap-limited", expander, "overlap-limited"),
        Variant(f"irregular-d{d}", "irregular (Bernoulli)", replace(base, d=min(m, 3 * d), mean_degree=float(d))),
        Variant(f"repeated-d{d}", "identical in groups", expander, "repeated"),
        Variant(f"contiguous-d{d}", "contiguous windows", expander, "contiguous"),
        Variant(f"clustered-d{d}", "clustered (paper)", expander, "clustered"),
        Variant(f"pruned-d{d}", "pruned dense", expander, pruned="pruned", rate_of=plain),
        Variant(f"retuned-d{d}", "pruned, retuned (paper)", expander, pruned="retuned", rate_of=plain),
        Variant(f"rank{rank}", f"rank {rank}", replace(dense, rank=rank), stored=rank * (m + n)),
        small_dense(base, m, d),
        architecture(base, None),
        Variant("dense-warm", "dense, warm untied (paper)", replace(dense, encoder="warm")),
        Variant("dense-random", "dense, random untied (paper)", replace(dense, encoder="random")),
    ]


def sparsities(base: Training, degrees: tuple[int | None, ...], ks: tuple[int, ...]) -> list[Variant]:
    """The plain SAEs over k; each takes the rate of its degree at the setting's own k."""
    found = []
    for d in degrees:
        plain = architecture(base, d)
        for k in ks:
            if k == base.k:
                found.append(plain)
            else:
                found.append(changed(plain, f"{plain.name}-k{k}", plain.label, k=k))
    return found


def changed(variant: Variant, name: str, label: str, **changes: Any) -> Variant:
    """A variant with another recipe, at the same learning rate."""
    training = replace(variant.training, **changes)
    return replace(variant, name=name, label=label, training=training, rate_of=variant.rate_of or variant)


def by_pursuit(variant: Variant) -> Variant:
    """The same with OMP in the loop and as encoder."""
    return changed(variant, f"{variant.name}-omp", f"{variant.label}, OMP", encoder="omp")


def by_omp(base: Training, d: int, ks: tuple[int, ...]) -> list[Variant]:
    """The SAEs of a degree whose encoder is OMP, in training and ever after, over k; at the rate of the plain one."""
    pursued, label = by_pursuit(architecture(base, d)), f"d = {d}, OMP in the loop"
    names = {k: pursued.name if k == base.k else f"{pursued.name}-k{k}" for k in ks}
    return [changed(pursued, name, label, k=k) for k, name in names.items()]


def better_training(base: Training, d: int) -> list[Variant]:
    """What may close the gap at the storage of degree d: more steps, revival, codes from more than one look."""
    plain = architecture(base, d)
    how = plain.training
    rounds = math.gcd(how.k, 4)

    def other(name: str, label: str, **changes: Any) -> Variant:
        return changed(plain, f"d{d}-{name}", label, **changes)

    return [
        plain,
        other("long", "four times the steps", steps=4 * how.steps),
        other("no-revival", "no AuxK", revival="none"),
        other("warm", "untied encoder on the mask", encoder="warm"),
        other("batch-topk", "BatchTopK", activation="batch_topk"),
        other(f"pursuit{rounds}", f"{rounds} pursuit steps", pursuit_steps=rounds),
        other(f"pursuit{how.k}", f"{how.k} pursuit steps", pursuit_steps=how.k),
        other("omp", "OMP in the loop, and as encoder", encoder="omp"),
    ]
