"""What the features of SAEs are worth: known ones found, and unknown ones judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expander_theory.results import FeaturesRecord, TruthRecord
from paper_figures.claims.base import OURS, Claim, Finding, Verdict
from paper_figures.figures.features import feature_scores as scores
from paper_figures.figures.features.ground_truth import by_sae, mean, read
from paper_figures.figures.saes.suite import model_name


def _found(results: Path) -> Finding | None:
    path = results / "truth" / "ledger.jsonl"
    stored = read(path) if path.is_file() else None
    if stored is None:
        return None
    identity, laws, records, _ = stored
    groups = by_sae(records)
    dense = {
        (condition, seeds[0].encoder): seeds
        for (condition, _), seeds in groups.items()
        if seeds[0].role == "trained" and seeds[0].decoder == "dense"
    }
    pairs = {
        law.label: (dense[law.condition, "omp"], dense[law.condition, "topk"])
        for law in laws
        if {(law.condition, "omp"), (law.condition, "topk")} <= dense.keys()
    }
    if not pairs:
        return None
    better = {name: [label for label, pair in pairs.items() if _ahead(*pair, name)] for name in ("mcc", "f1")}
    exact = [label for label, (ours, theirs) in pairs.items() if _ahead(theirs, ours, "fvu")]
    both = [label for label in better["mcc"] if label in better["f1"]]
    verdict: Verdict = "supported" if len(both) == len(pairs) else "partly" if both else "not supported"
    numbers = [
        f"dense SAEs, OMP against TopK: FVU lower on {len(exact)} of {len(pairs)} conditions, MCC higher on "
        f"{len(better['mcc'])}, F1 of firing on {len(better['f1'])} (at every seed)",
        *(f"{label}: {_in_words(*pair)}" for label, pair in pairs.items()),
        *_structured(groups),
    ]
    base = identity["base"]
    scale = (
        f"known features: m = {base['m']}, n = {base['n']}, {base['l0']:g} a token unless said; {len(laws)} conditions"
        f", {identity['steps']} steps of {identity['batch']} tokens, {len(identity['seeds'])} seeds"
    )
    return Finding(verdict, tuple(numbers), scale)


def _ahead(ours: Sequence[TruthRecord], theirs: Sequence[TruthRecord], name: str) -> bool:
    """Whether a measure is larger at every seed."""
    others = {record.seed: getattr(record, name) for record in theirs}
    return all(getattr(record, name) > others[record.seed] for record in ours if record.seed in others)


def _in_words(ours: Sequence[TruthRecord], theirs: Sequence[TruthRecord]) -> str:
    names = (("FVU", "fvu"), ("MCC", "mcc"), ("found", "found"), ("F1", "f1"))
    return ", ".join(f"{title} {mean(ours, name):.2f} against {mean(theirs, name):.2f}" for title, name in names)


def _structured(groups: dict[tuple[str, str], list[TruthRecord]]) -> list[str]:
    """SAEs of the features' own structure, and what the known directions and random ones have."""
    said = []
    for condition, decoder in (("expander", "expander"), ("block", "block")):
        trained = [g for (law, _), g in groups.items() if law == condition and g[0].role == "trained"]
        own = [g for g in trained if g[0].decoder == decoder and g[0].encoder == "omp" and "learned" in g[0].name]
        best = max(own, key=lambda g: mean(g, "f1"), default=None)
        dense = groups.get((condition, "dense-topk"))
        if best and dense:
            said.append(f"{condition} features, {best[0].label} by OMP against dense TopK: {_in_words(best, dense)}")
    known, null = (groups.get(("dense", name)) for name in ("known-omp", "null-random"))
    if known and null:
        said.append(
            f"OMP on the known directions: FVU {mean(known, 'fvu'):.2f}, F1 {mean(known, 'f1'):.2f}; random "
            f"directions: MCC {mean(null, 'mcc'):.2f}, F1 {mean(null, 'f1'):.2f}"
        )
    return said


def _as_good(results: Path) -> Finding | None:
    path = results / "features" / "ledger.jsonl"
    stored = scores.read(path) if path.is_file() else None
    if stored is None:
        return None
    identity, found, raw = stored
    trained = {name: seeds for name, seeds in found.items() if seeds[0].role == "trained"}
    dense = next((g for g in trained.values() if g[0].architecture == "dense" and g[0].encoder == "tied"), None)
    sparse = {name: seeds for name, seeds in trained.items() if seeds[0].architecture != "dense"}
    if dense is None or not sparse:
        return None
    lower = {name: [m for m in _MEASURES if _below(seeds, dense, m)] for name, seeds in sparse.items()}
    null = next((g for g in found.values() if g[0].role == "null" and g[0].architecture == "expander"), None)
    good = [name for name, below in lower.items() if not below]
    verdict: Verdict = "supported" if len(good) == len(sparse) else "partly" if good else "not supported"
    numbers = []
    for name, seeds in trained.items():
        said = f"{seeds[0].label}: {_scores_in_words(seeds)}"
        if name in sparse:
            below = [_MEASURES[m] for m in lower[name]]
            said += f" (below dense TopK at every seed: {', '.join(below) or 'none'})"
        numbers.append(said)
    if null:
        numbers.append(f"{null[0].label} (nothing learned): {_scores_in_words(null)}")
    for record in raw:
        if record.label != "principal components":
            points = ", ".join(f"{p.accuracy:.3f} from {p.k}" for p in record.probes)
            numbers.append(f"{record.label} without an SAE: probes {points}")
    numbers.append(scores.PAPER)
    seeds = max(len(g) for g in trained.values())
    scale = (
        f"{model_name(identity['model'])}, layer {identity['layer']}, m = {identity['m']}, k = {dense[0].k}; "
        f"{seeds} seed{'s' * (seeds > 1)}, no judge"
    )
    return Finding(verdict, tuple(numbers), scale)


_MEASURES = {"window_auc": "window AUC", "identified": "identified", "probe5": "probe from 5 features"}


def _below(ours: Sequence[FeaturesRecord], dense: Sequence[FeaturesRecord], name: str) -> bool:
    """Whether a number is lower than the dense SAE's at every seed."""
    others = {record.seed: scores.value(record, name) for record in dense}
    pairs = [(scores.value(record, name), others.get(record.seed)) for record in ours]
    known = [(own, other) for own, other in pairs if own is not None and other is not None]
    return bool(known) and all(own < other for own, other in known)


def _scores_in_words(seeds: Sequence[FeaturesRecord]) -> str:
    names = {"token_auc": "token AUC", **_MEASURES}
    shown = {title: scores.mean(seeds, name) for name, title in names.items()}
    return ", ".join(f"{title} {number:.3f}" for title, number in shown.items() if number is not None)


FEATURES: Sequence[Claim] = (
    Claim(
        "features as good as dense ones",
        "Features of compressed SAEs are as interpretable as those of a dense SAE.", OURS,
        "expander experiment features",
        "no SAE on a mask or on blocks is below the dense TopK SAE, at every seed, in the median AUC with which a "
        "window of tokens predicts firing, in the share of units that half of the text identifies, or in probes from "
        "five features; partly: some SAE is below in none of them. These are scores without a judge",
        ("feature_scores",), _as_good,
    ),
    Claim(
        "pursuit finds features",
        "Pursuit in training finds more of the true features than TopK, not only a better reconstruction.", OURS,
        "expander experiment ground-truth",
        "on activations with known features dense SAEs by OMP have a higher MCC and a higher F1 of firing than dense "
        "TopK SAEs, under every condition and at every seed; partly: under some",
        ("ground_truth",), _found,
    ),
)  # fmt: skip
