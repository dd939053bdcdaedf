"""Questions beyond the paper: certified masks, small dense SAEs, better training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expander_theory.plotting import estimate
from paper_figures.claims.base import (
    OURS,
    Claim,
    Finding,
    Verdict,
    is_below_null,
    null_in_words,
    suite_group,
    training_scale,
    unlearned,
)
from paper_figures.figures.saes.equal_inference import (
    INFERENCE,
    against_dense,
    below_each_dense,
    crossings,
    is_below_untrained,
)
from paper_figures.figures.saes.small_dense import advantage, verdicts
from paper_figures.figures.saes.suite import Member, Row, shown

_MARGIN = 0.1
"""CE, in nats a token, that counts as no cost."""


def _certified_mask(results: Path) -> Finding | None:
    found = suite_group(results, "certified-mask")
    if found is None:
        return None
    numbers, above, learned = [], [], False
    variants = [seeds for _, seeds in found.variants()]
    for d in sorted({seeds[0].d for seeds in variants}):
        pair = {seeds[0].family: seeds for seeds in variants if seeds[0].d == d}
        if len(pair) == 2:
            random, designed = (pair[name] for name in ("uniform", "euler-square"))
            numbers.append(
                f"d = {d}: CE recovered {shown(random, 'recovered_zero')} random, "
                f"{shown(designed, 'recovered_zero')} with overlaps of at most 1 (CE above by "
                f"{shown(designed, 'ce_above_plain')})"
            )
            above.append(estimate(designed, "ce_above_plain"))
            learned |= is_below_null(random) or is_below_null(designed)
    if not above:
        return None
    costs, free = any(low > 0 for _, low, _ in above), all(high < _MARGIN for *_, high in above)
    verdict: Verdict = "not supported" if costs else "supported" if free else "partly"
    if not costs and not learned:
        verdict = unlearned(found)
    return Finding(verdict, (*numbers, null_in_words(found)), training_scale(found))


def _small(results: Path) -> Finding | None:
    found = suite_group(results, "small-dense")
    if found is None:
        return None
    rows = [row for row in advantage(found, "bytes_packed") if row["inside"]]
    ahead = sum(row["gain"] > 0 for row in rows)
    verdict: Verdict = "supported" if rows and ahead == 0 else "partly" if ahead < len(rows) else "not supported"
    numbers = [
        f"{row['storage'] / 1000:,.0f} KB packed: expander {row['expander']:.3f}, dense interpolated {row['dense']:.3f}"
        for row in rows
    ]
    return Finding(verdict, (*numbers, verdicts(found), null_in_words(found)), training_scale(found))


def _equal_inference(results: Path) -> Finding | None:
    found = suite_group(results, "equal-inference")
    rows = [] if found is None else below_each_dense(found, "omp")
    if found is None or not rows:
        return None
    ahead = [row["low"] > 0 for row in rows]
    verdict: Verdict = "supported" if all(ahead) else "partly" if any(ahead) else "not supported"
    learned = [row["best"] for row in rows if row["best"]]
    if verdict != "not supported" and not any(is_below_null(s) and is_below_untrained(found, s) for s in learned):
        verdict = unlearned(found)
    numbers = [_against(row["best"], row) for row in rows]
    topk = against_dense(found, "tied")
    numbers += [f"by {INFERENCE['tied']}: ahead at {sum(row['gain'] > 0 for row in topk)} of {len(topk)} storages"]
    return Finding(verdict, (*numbers, crossings(found), null_in_words(found)), training_scale(found))


def _against(best: Sequence[Member] | None, row: Row) -> str:
    def sized(seeds: Sequence[Member]) -> str:
        return f"{seeds[0].label} ({seeds[0].bytes_packed / 1000:,.0f} KB)"

    if best is None:
        return f"against {sized(row['rival'])}: no smaller one was paired at every seed"
    seeds = f"{row['paired']} seed{'s' * (row['paired'] > 1)}"
    return (
        f"{sized(best)} against {sized(row['rival'])}: CE lower by {row['low']:.3f} to {row['high']:.3f} nats (paired, "
        f"{seeds})"
    )


def _better(results: Path) -> Finding | None:
    found = suite_group(results, "better-training")
    if found is None:
        return None
    variants = [seeds for _, seeds in found.variants()]
    own, sparse = variants[0], [s for s in variants[1:] if s[0].architecture != "dense"]
    dense = next((s for s in variants if s[0].architecture == "dense"), None)
    numbers = [
        f"{s[0].label}: CE recovered {shown(s, 'recovered_zero')}, FVU {shown(s, 'fvu')}" for s in [own, *sparse]
    ]
    if dense:
        numbers.append(f"dense: {shown(dense, 'recovered_zero')}")
    best = max(sparse, key=lambda seeds: estimate(seeds, "recovered_zero")[0], default=own)
    closed = estimate(best, "ce_difference")[1] <= 0
    better = estimate(best, "ce_above_first")[2] < 0
    verdict: Verdict = "supported" if closed else "partly" if better else "not supported"
    if verdict != "not supported" and not is_below_null(best):
        verdict = unlearned(found)
    numbers.append(null_in_words(found))
    if best is not own:
        numbers.append(f"{best[0].label} against the plain recipe: CE {shown(best, 'ce_above_first')}")
    return Finding(verdict, tuple(numbers), training_scale(found))


BEYOND: Sequence[Claim] = (
    Claim(
        "certified masks", "A certified mask (overlaps of at most 1) costs no fidelity against a random one.", OURS,
        "expander experiment certified-mask", "at every degree the interval of its CE less the random one's (paired) "
        f"ends below {_MARGIN} nats; not supported: one begins above 0; partly: too wide to say; "
        "no better than the null: no mask of either kind has clearly less CE than the coordinate null at the same k",
        ("certified_mask",), _certified_mask,
    ),
    Claim(
        "small dense SAEs", "A small dense SAE of as much storage beats the expander on CE.", OURS,
        "expander experiment small-dense", "ahead at every packed size that both reach", ("small_dense",), _small,
    ),
    Claim(
        "equal inference", "At equal storage and equal inference (OMP, in training and in use) a sparse dictionary is "
        "better than a dense one with fewer features.", OURS,
        "expander experiment frontier", "below every dense SAE of fewer features a sparse one of no more packed bytes "
        "has clearly less CE (paired, at every seed of the dense one); partly: below some; no better than the null: "
        "none of these is clearly below both the coordinate null and OMP on the best untrained mask",
        ("equal_inference",), _equal_inference,
    ),
    Claim(
        "better training", "Better training closes the gap to dense at fixed storage.", OURS,
        "expander experiment better-training", "the best recipe has not clearly more CE than dense; partly: clearly "
        "less than the plain recipe (paired); no better than the null if its CE is not clearly below the coordinate "
        "null's",
        ("better_training",), _better,
    ),
)  # fmt: skip
