"""The claims, and what stored results say of each: a verdict, numbers with intervals, and the scale of the runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from expander_theory.ledger import read_ledger
from paper_figures import cost as cost_figure
from paper_figures.small_dense import verdicts
from paper_figures.suite import Group, Row, estimate, group, model_name, shown

Verdict = Literal["supported", "partly", "not supported", "not run"]
Records = tuple[Row, list[Row]]


@dataclass(frozen=True)
class Finding:
    """What results say of a claim.

    Attributes:
        verdict: by the rule that :attr:`Claim.rule` states.
        numbers: with 95 % intervals, in words.
        scale: what was run.
    """

    verdict: Verdict
    numbers: tuple[str, ...]
    scale: str


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        name: short.
        text: the claim.
        source: of the claim.
        experiment: the command that tests it.
        rule: when it counts as supported.
        figures: that show it.
        judge: from a results folder; None where it was not run.
    """

    name: str
    text: str
    source: str
    experiment: str
    rule: str
    figures: tuple[str, ...]
    judge: Callable[[Path], Finding | None]

    def finding(self, results: Path) -> Finding:
        """What a results folder says."""
        return self.judge(results) or Finding("not run", (f"`{self.experiment}` makes the data.",), "")


def _ledger(results: Path, name: str) -> Records | None:
    path = results / name / "ledger.jsonl"
    if not path.is_file():
        return None
    identity, records = read_ledger(path)
    return (identity, records) if records else None


def _group(results: Path, name: str) -> Group | None:
    path = results / "saes" / "ledger.jsonl"
    return group(path, name) if path.is_file() else None


def _scale(found: Group) -> str:
    about = found.identity
    steps, tokens = about["recipe"]["steps"], about["recipe"]["steps"] * about["batch"]
    seeds = len({row["seed"] for row in found.rows})
    size = f"m = {about['m']}, n = {about['recipe']['n']}, k = {about['recipe']['k']}"
    trained = f"{steps} steps ({tokens:,} tokens seen), {seeds} seed{'s' * (seeds > 1)}"
    return f"{found.model}, layer {about['layer']}, {size}, {trained}; held out: {found.rows[0]['tokens']:,} tokens"


def _cost(results: Path) -> Finding | None:
    found = _ledger(results, "cost")
    if found is None:
        return None
    drawing = cost_figure.draw(results / "cost" / "ledger.jsonl")
    assert drawing is not None
    fits = {
        (row["axis"], row["method"]): row
        for row in drawing.tables["cost"].rows
        if row["quantity"] == "correlation" and row["exponent"] is not None
    }
    if not {(axis, "ours") for axis in ("m", "n", "d")} <= fits.keys():
        return None  # fewer than three sizes on an axis
    ours = {axis: fits[axis, "ours"] for axis in ("m", "n", "d")}
    numbers = [f"ours ~ {axis}^{_interval(row['exponent'], row['low'], row['high'])}" for axis, row in ours.items()]
    dense = fits["m", "dense BLAS"]
    numbers.append(f"dense ~ m^{_interval(dense['exponent'], dense['low'], dense['high'])}")
    holds = ours["m"]["exponent"] < 0.35 and ours["n"]["low"] <= 1.1 and ours["d"]["low"] <= 1.1
    first = found[0]
    scale = f"centre (m, n, d) = {tuple(first['centre'])}, float32, {first['repeats']} interleaved repeats"
    return Finding("supported" if holds else "not supported", tuple(numbers), scale)


def _identifiable(results: Path) -> Finding | None:
    found = _ledger(results, "identifiability")
    if found is None:
        return None
    identity, records = found
    expanding = [r for r in records if r["eps"] < 0.5]
    unique = sum(r["unique"] for r in expanding)
    below = sum(r["margin"] < r["bound"] - 1e-9 for r in records)
    paper = [r for r in records if 2 * r["flatness"] ** 2 * r["eps"] < 1]
    numbers = (
        f"{unique} of {len(expanding)} dictionaries with eps_2k < 1/2 have unique codes, whatever their flatness",
        f"{len(paper)} of {len(records)} meet the paper's condition 2 C^2 eps_2k < 1: flatness is not needed (IDN-1)",
        f"{below} of {len(records)} have a smaller l1 margin than eps and flatness prove",
    )
    holds = unique == len(expanding) and below == 0
    size = f"n = {identity['n']}, d = {identity['d']}, k = {identity['k']}"
    scale = f"{size}; every support enumerated, {len(records)} dictionaries"
    return Finding("supported" if holds else "not supported", numbers, scale)


def _exact_omp(results: Path) -> Finding | None:
    found = _ledger(results, "recovery")
    if found is None:
        return None
    identity, records = found
    certain = sum(round(size["guaranteed"] * size["supports"]) for r in records for size in r["by_size"])
    wrong = sum(r["contradictions"] for r in records)
    certified = [r["measures"]["k certified by Babel (OMP-3)"] for r in records]
    failed = sum(
        rate["successes"] < rate["trials"]
        for r, k in zip(records, certified, strict=True)
        for rate in r["planted"]["trained"]
        if rate["k"] <= k
    )
    frontier = _group(results, "frontier")
    sparse = [row for row in (frontier.rows if frontier else []) if "R_OMP" in row["geometry"]]
    met = sum(row["geometry"]["R_OMP"] < 1 for row in sparse)
    numbers = [
        f"{certain - wrong} of {certain} real supports with ERC < 1 recovered",
        f"planted codes at k up to the certified one: {failed} rates below 1",
        f"certified for every code on trained decoders: k = {min(certified)} to {max(certified)}",
    ]
    if sparse:
        numbers.append(f"the paper's R_OMP < 1 may hold at the trained k on {met} of {len(sparse)} trained decoders")
    scale = f"{model_name(identity['model'])}, {len(records)} decoders, {identity['supports']} tokens each"
    holds = wrong == 0 and failed == 0
    return Finding("supported" if holds else "not supported", tuple(numbers), scale)


def _phases(results: Path) -> Finding | None:
    path = results / "phase" / "ledger.jsonl"
    if not path.is_file():
        return None
    from expander_theory.cells import boundaries, cells

    identity, records = read_ledger(path)
    rows = [row for row in boundaries(cells(records)) if row["status"] == "fitted"]
    ratios = sorted({row["m"] / row["n"] for row in rows if row["family"] == "uniform"})
    if not ratios:
        return None
    at = ratios[len(ratios) // 2]
    here = [row for row in rows if row["m"] / row["n"] == at]
    numbers = [
        f"{row['family']}, d = {row['d']}: k/m at 50 % = {_interval(row['k/m at 50 %'], row['low'], row['high'])}"
        for row in sorted(here, key=lambda row: (row["family"], row["d"]))
    ]
    uniform = {row["d"]: row for row in here if row["family"] == "uniform"}
    dense = next((row for row in here if row["family"] == "dense"), None)
    best = max((row["k/m at 50 %"] for row in uniform.values()), default=0.0)
    holds = dense is not None and best >= 0.8 * dense["k/m at 50 %"]
    scale = f"n = {identity.get('n')}, noiseless normal codes, m/n = {at:.2g} quoted of {len(ratios)}"
    return Finding("supported" if holds else "partly", tuple(numbers), scale)


def _sparse(found: Group) -> list[list[Row]]:
    variants = [seeds for _, seeds in found.variants() if seeds[0]["architecture"] != "dense"]
    return sorted(variants, key=lambda seeds: seeds[0]["d"])


def _frontier(results: Path) -> Finding | None:
    found = _group(results, "frontier")
    if found is None or len(_sparse(found)) < 2:
        return None
    sparse = _sparse(found)
    numbers = [f"d = {s[0]['d']}: CE recovered {shown(s, 'recovered_zero')}, FVU {shown(s, 'fvu')}" for s in sparse]
    dense = next((s for _, s in found.variants() if s[0]["architecture"] == "dense"), None)
    if dense:
        numbers.append(f"dense: CE recovered {shown(dense, 'recovered_zero')}, FVU {shown(dense, 'fvu')}")
    above, low, high = estimate(sparse[-1], "ce_above_smallest")
    numbers.append(
        f"CE of d = {sparse[-1][0]['d']} less that of d = {sparse[0][0]['d']}: {_interval(above, low, high)}"
    )
    verdict: Verdict = "supported" if high < 0 else "partly" if above < 0 else "not supported"
    return Finding(verdict, tuple(numbers), _scale(found))


def _headline(results: Path) -> Finding | None:
    found = _group(results, "frontier")
    sparse = [s for s in _sparse(found) if estimate(s, "ratio")[0] > 0] if found else []
    if found is None or not sparse:
        return None
    nearest = min(sparse, key=lambda s: abs(math.log(s[0]["m"] / s[0]["d"] / 293)))
    ratio, low, high = estimate(nearest, "ratio")
    fewer = nearest[0]["m"] / nearest[0]["d"]
    numbers = (
        f"{fewer:.0f} times fewer values (d = {nearest[0]['d']}): {_interval(ratio, low, high)} of dense's recovery",
        "paper, Qwen2.5-3B layer 12, 293 times: 0.828 / 0.983 = 0.84",
    )
    return Finding("supported" if high >= 0.84 else "not supported", numbers, _scale(found))


_DIVERSE = ("uniform", "euler-square", "overlap-limited")


def _controls(results: Path) -> Finding | None:
    found = _group(results, "controls")
    if found is None:
        return None
    variants = [seeds for _, seeds in found.variants()]
    numbers, worse, rivals = [f"expander: CE recovered {shown(variants[0], 'recovered_zero')}"], 0, 0
    for seeds in variants[1:]:
        first = seeds[0]
        at_count = first["decoder_values"] <= 1.2 * variants[0][0]["decoder_values"]
        if not at_count:
            continue
        above = shown(seeds, "ce_above_first")
        numbers.append(f"{first['label']}: {shown(seeds, 'recovered_zero')}, CE above the expander's by {above}")
        if first["family"] not in _DIVERSE or first["pruned"]:
            rivals += 1
            worse += estimate(seeds, "ce_above_first")[1] > 0
    verdict: Verdict = "supported" if worse == rivals else "partly" if worse else "not supported"
    numbers.append(f"clearly below the expander: {worse} of {rivals} controls without sparse, diverse, random supports")
    return Finding(verdict, tuple(numbers), _scale(found))


def _amortised(results: Path) -> Finding | None:
    found = _ledger(results, "amortisation")
    if found is None:
        return None
    identity, records = found
    plain = [r for r in records if r["variant"] == r["variant"].split("-k")[0]]
    dense = next((r for r in plain if r["dense"]), None)
    numbers, gains = [], []
    for record in sorted((r for r in plain if not r["dense"]), key=lambda r: r["d"]):
        rows = {row["method"]: row for row in record["rows"]}
        encoder, best = rows["encoder"]["fvu"], rows["omp_nonnegative"]["fvu"]
        gains.append(encoder - best)
        text = f"d = {record['d']}: FVU {encoder:.3f} by the encoder, {best:.3f} by OMP under codes >= 0"
        text += f", {rows['omp']['fvu']:.3f} by OMP"
        if dense is not None:
            gap = encoder - next(row["fvu"] for row in dense["rows"] if row["method"] == "encoder")
            if gap > 0:
                text += f" ({(encoder - rows['omp']['fvu']) / gap:.0%} of the gap to the dense encoder)"
        numbers.append(text)
    scale = f"{model_name(identity['model'])}, m = {identity['m']}, n = {identity['n']}, one seed"
    return Finding("supported" if gains and min(gains) > 0 else "not supported", tuple(numbers), scale)


def _beyond(results: Path) -> Finding | None:
    found = _ledger(results, "recovery")
    if found is None:
        return None
    identity, records = found
    numbers, beyond = [], []
    for record in sorted(records, key=lambda r: -r["d"]):
        certified = record["measures"]["k certified by Babel (OMP-3)"]
        rates = record["planted"]["trained"]
        half = max((rate["k"] for rate in rates if 2 * rate["successes"] >= rate["trials"]), default=0)
        beyond.append(half > certified)
        whole = record["by_size"][-1]
        numbers.append(
            f"{record['label']}: certified k = {certified}, planted codes recovered at rate 1/2 up to k = {half}; real "
            f"supports of {whole['size']}: ERC < 1 on {whole['guaranteed']:.0%}, recovered {whole['own']:.0%}"
        )
    scale = f"{model_name(identity['model'])}, {identity['planted_trials']} trials a point"
    verdict: Verdict = "supported" if all(beyond) else "partly" if any(beyond) else "not supported"
    return Finding(verdict, tuple(numbers), scale)


def _certified_mask(results: Path) -> Finding | None:
    found = _group(results, "certified-mask")
    if found is None:
        return None
    numbers, losses = [], []
    variants = [seeds for _, seeds in found.variants()]
    for d in sorted({seeds[0]["d"] for seeds in variants}):
        pair = {seeds[0]["family"]: seeds for seeds in variants if seeds[0]["d"] == d}
        if len(pair) == 2:
            random, designed = (pair[name] for name in ("uniform", "euler-square"))
            numbers.append(
                f"d = {d}: CE recovered {shown(random, 'recovered_zero')} random, "
                f"{shown(designed, 'recovered_zero')} with overlaps of at most 1 (CE above by "
                f"{shown(designed, 'ce_above_plain')})"
            )
            losses.append(estimate(designed, "ce_above_plain")[1] > 0)
    return Finding("not supported" if any(losses) else "supported", tuple(numbers), _scale(found)) if losses else None


def _small(results: Path) -> Finding | None:
    found = _group(results, "small-dense")
    if found is None:
        return None
    from paper_figures.small_dense import advantage

    rows = [row for row in advantage(found, "bytes_packed") if row["inside"]]
    ahead = sum(row["gain"] > 0 for row in rows)
    verdict: Verdict = "supported" if rows and ahead == 0 else "partly" if ahead < len(rows) else "not supported"
    numbers = [
        f"{row['storage'] / 1000:,.0f} KB packed: expander {row['expander']:.3f}, dense interpolated {row['dense']:.3f}"
        for row in rows
    ]
    return Finding(verdict, (*numbers, verdicts(found)), _scale(found))


def _better(results: Path) -> Finding | None:
    found = _group(results, "better-training")
    if found is None:
        return None
    variants = [seeds for _, seeds in found.variants()]
    own, sparse = variants[0], [s for s in variants[1:] if s[0]["architecture"] != "dense"]
    dense = next((s for s in variants if s[0]["architecture"] == "dense"), None)
    numbers = [
        f"{s[0]['label']}: CE recovered {shown(s, 'recovered_zero')}, FVU {shown(s, 'fvu')}" for s in [own, *sparse]
    ]
    if dense:
        numbers.append(f"dense: {shown(dense, 'recovered_zero')}")
    best = max(sparse, key=lambda seeds: estimate(seeds, "recovered_zero")[0], default=own)
    closed = estimate(best, "ce_difference")[1] <= 0
    better = estimate(best, "ce_above_first")[2] < 0
    verdict: Verdict = "supported" if closed else "partly" if better else "not supported"
    if best is not own:
        numbers.append(f"{best[0]['label']} against the plain recipe: CE {shown(best, 'ce_above_first')}")
    return Finding(verdict, tuple(numbers), _scale(found))


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


_PAPER = "Expander Sparse Autoencoders (arXiv 2607.01799)"
_OURS = "beyond the paper"

CLAIMS: Sequence[Claim] = (
    Claim(
        "cost", "The correlation W^T r costs O(dn).", _PAPER, "expander experiment cost",
        "time of our correlation grows with n and d at most about linearly, and hardly with m", ("cost",), _cost,
    ),
    Claim(
        "identifiability", "Expansion and column flatness make k-sparse codes identifiable.", _PAPER,
        "expander experiment identifiability",
        "every dictionary with eps_2k < 1/2 has unique codes, and no margin lies below its bound",
        ("margin_map",), _identifiable,
    ),
    Claim(
        "exact OMP", "Complementary conditions make OMP recover the support exactly.", _PAPER,
        "expander experiment recovery", "no support or k for which a condition holds is missed",
        ("erc_calibration", "trained_geometry"), _exact_omp,
    ),
    Claim(
        "phase transitions", "OMP recovers k-sparse codes on expander masks nearly as on dense dictionaries.", _PAPER,
        "expander experiment phase", "at the middle m/n the best degree has at least 80 % of the dense boundary",
        ("phase_diagram", "boundary_by_degree"), _phases,
    ),
    Claim(
        "frontier", "d traces a storage-fidelity frontier.", _PAPER, "expander experiment frontier",
        "the largest d has clearly less CE than the smallest (paired bootstrap)", ("storage_frontier",), _frontier,
    ),
    Claim(
        "84 % at 293x", "With 293 times fewer decoder values 84 % of the dense CE loss recovered is kept.", _PAPER,
        "expander experiment frontier", "at m/d nearest 293 the interval of the ratio reaches 0.84",
        ("storage_frontier",), _headline,
    ),
    Claim(
        "controls", "Sparse, diverse supports cause it, not the count of values.", _PAPER,
        "expander experiment controls",
        "every control without them, at as many values, has clearly more CE (paired bootstrap)",
        ("controls",), _controls,
    ),
    Claim(
        "amortisation", "At matched parameter count part of the gap to dense is encoder amortisation.", _PAPER,
        "expander experiment amortisation", "OMP under codes >= 0 lowers the FVU of every sparse decoder",
        ("amortisation", "inference_algorithms"), _amortised,
    ),
    Claim(
        "theory and practice", "Empirical recovery goes far beyond the sufficient conditions.", _PAPER,
        "expander experiment recovery", "on every decoder OMP recovers half of planted codes beyond the certified k",
        ("recovery_curves",), _beyond,
    ),
    Claim(
        "certified masks", "A certified mask (overlaps of at most 1) costs no fidelity against a random one.", _OURS,
        "expander experiment certified-mask", "at no degree has it clearly more CE (paired bootstrap)",
        ("certified_mask",), _certified_mask,
    ),
    Claim(
        "small dense SAEs", "A small dense SAE of as much storage beats the expander on CE.", _OURS,
        "expander experiment small-dense", "ahead at every packed size that both reach", ("small_dense",), _small,
    ),
    Claim(
        "better training", "Better training closes the gap to dense at fixed storage.", _OURS,
        "expander experiment better-training", "the best recipe has not clearly more CE than dense; partly: clearly "
        "less than the plain recipe (paired)", ("better_training",), _better,
    ),
)  # fmt: skip


def claims_markdown(results: Path) -> str:
    """The claims as a Markdown table: verdict, numbers, scale."""
    lines = ["| claim | verdict | numbers | scale |", "|---|---|---|---|"]
    for claim in CLAIMS:
        found = claim.finding(results)
        lines.append(f"| {claim.text} | {found.verdict} | {'; '.join(found.numbers)} | {found.scale} |")
    return "\n".join(lines) + "\n"
