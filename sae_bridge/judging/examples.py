"""What a judge is shown of a feature: windows in which it is active, others in which it is not, and marks.

The scores are those of delphi (Paulo et al. 2024, "Automatically interpreting millions of features"): detection and
fuzzing. Where its code and this one differ it is said here: examples to explain and to score from are different
windows, wrong marks are drawn anew for each text, and texts without activity are drawn without replacement.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import generator, require, require_int
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluation import AnySAE
from sae_bridge.features import Gathered, Look, Spelling, gather

ACTIVE = 0.3
"""A token is marked if its activation is at least this share of the largest in its text."""
_CANDIDATES = 4
"""Random windows a text without activity that is wanted; a feature that is active in most of them is left out."""


@dataclass(frozen=True)
class Example:
    """One window of text.

    Attributes:
        tokens: spelled.
        acts: |activation| of the feature on each, (window,).
        kept: which of them count, (window,).
        active: whether the feature is active in it.
    """

    tokens: tuple[str, ...]
    acts: NDArray[np.float32]
    kept: NDArray[np.bool_]
    active: bool

    def marks(self) -> NDArray[np.bool_]:
        """Tokens whose activation is at least :data:`ACTIVE` times the largest; none where it is not active."""
        most = float(self.acts.max(initial=0))
        return self.acts >= ACTIVE * most if most > 0 else np.zeros(len(self.acts), bool)

    def text(self, marks: NDArray[np.bool_] | None = None) -> str:
        """The text, on one line, with adjacent marked tokens in one pair of ``<<`` and ``>>``."""
        parts, inside = [], False
        for i, token in enumerate(self.tokens):
            mark = marks is not None and bool(marks[i])
            if mark != inside:
                parts.append("<<" if mark else ">>")
                inside = mark
            parts.append(token)
        return "".join([*parts, ">>" if inside else ""]).replace("\n", "\\n").replace("\r", "\\r")


@dataclass(frozen=True)
class Sizes:
    """How much a judge sees of each feature.

    Attributes:
        explain: windows that it explains the feature from: a quarter the strongest, the others from all quantiles.
        test: windows with activity that it is tested on, from all quantiles, none of those; and as many without.
        at_once: texts in a question.
        window: tokens of a text.
        seed: of all draws.
    """

    explain: int = 20
    test: int = 20
    at_once: int = 5
    window: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("explain", "test", "at_once", "window"):
            require(require_int(name, getattr(self, name)) >= 1, name, getattr(self, name), "must be at least 1")
        whole = 2 * self.test % self.at_once == 0
        require(whole, "at_once", self.at_once, f"must divide 2 test = {2 * self.test}")


@dataclass(frozen=True)
class Shown:
    """A feature as a judge sees it: windows to explain from, and windows to be tested on, half of them active."""

    feature: int
    explain: tuple[Example, ...]
    test: tuple[Example, ...]

    @property
    def sha256(self) -> str:
        """Hash of the texts and of the feature's activations in them."""
        digest = hashlib.sha256()
        for example in (*self.explain, *self.test):
            digest.update("\0".join(example.tokens).encode(errors="surrogatepass") + example.acts.tobytes())
        return digest.hexdigest()


def shown_features(
    sae: AnySAE,
    store: ActivationStore,
    features: NDArray[np.int64],
    spelling: Spelling,
    sizes: Sizes,
    *,
    split: str = "train",
    contexts: int | None = None,
    most: int | None = None,
) -> list[Shown]:
    """What a judge is to see of each feature; those with too few active windows are left out.

    Args:
        sae, store: the SAE and its activations.
        features: which, ascending.
        spelling: of the language model's tokens.
        sizes: how much.
        split, contexts: whose text, and how much of it.
        most: so many of those that fire in enough places, drawn at random; None is all.
    """
    strongest = max(1, sizes.explain // 4)
    others = sizes.explain - strongest + sizes.test
    pool = strongest + others
    look = Look(
        split=split,
        contexts=contexts,
        window=sizes.window,
        top=strongest,
        quantiles=1,
        each=pool,
        pool=pool,
        random=_CANDIDATES * sizes.test,
        seed=sizes.seed,
    )
    seen = gather(sae, store, features, look)
    found: list[Shown] = []
    for i in generator(sizes.seed, "order of features").permutation(len(features)):
        if len(found) == most:
            break
        feature = features[i]
        active = _active(seen, i, spelling, strongest, pool)
        quiet = _quiet(seen, i, spelling, strongest + pool)
        if len(active) < strongest + others or len(quiet) < sizes.test:
            continue
        rng = generator(sizes.seed, f"examples of feature {feature}")
        drawn = rng.permutation(np.arange(strongest, len(active)))[:others]
        tested = np.sort(drawn[: sizes.test])
        explain = [active[j] for j in range(strongest)] + [active[j] for j in np.sort(drawn[sizes.test :])]
        test = [active[j] for j in tested] + quiet[: sizes.test]
        order = rng.permutation(len(test))
        found.append(Shown(int(feature), tuple(explain), tuple(test[j] for j in order)))
    return sorted(found, key=lambda one: one.feature)


def _active(seen: Gathered, i: int, spelling: Spelling, strongest: int, pool: int) -> list[Example]:
    """The strongest windows, then the sampled ones that are not among them, strongest first."""
    top = set(seen.windows[i, :strongest].tolist())
    sampled = range(strongest, strongest + pool)
    chosen = [*range(strongest), *(e for e in sampled if seen.windows[i, e] not in top)]
    return [_example(seen, i, e, spelling) for e in chosen if seen.windows[i, e] >= 0]


def _quiet(seen: Gathered, i: int, spelling: Spelling, first: int) -> list[Example]:
    """The random windows with text in which the feature is not active, in the order in which they were drawn."""
    found = []
    for e in range(first, seen.windows.shape[1]):
        if seen.windows[i, e] >= 0 and seen.kept[i, e].any() and not seen.acts[i, e].any():
            found.append(_example(seen, i, e, spelling))
    return found


def _example(seen: Gathered, i: int, e: int, spelling: Spelling) -> Example:
    ids = seen.ids[i, e]
    length = int((ids >= 0).sum())
    sizes = np.abs(seen.acts[i, e, :length])
    tokens = tuple(spelling.text(int(t)) for t in ids[:length])
    return Example(tokens, sizes, seen.kept[i, e, :length], bool((sizes > 0).any()))
