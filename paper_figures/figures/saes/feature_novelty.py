"""Features that the dense SAE does not have: over d, over k, against firing-rate-matched nulls; token entropy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expander_theory.plotting import BLACK, BLUE, GREEN, GREY, ORANGE, TWO_COLUMNS, Drawing, Table, grid
from expander_theory.results import NoveltyRecord, read_ledger, records_of
from paper_figures.figures.saes.suite import model_name

KIND = "novelty"
NOTE = (
    "Features that fire on held-out tokens. Novel by firing: no feature of the dense SAE (same k) has a Jaccard "
    "similarity of firing sets of 0.1 or more; the null is that share for random firing sets of the same sizes. Novel"
    " by direction: no column of it with |cosine| of 0.3 or more. A column on d rows has |cosine| at most the l2 norm"
    " of a dense column's d largest entries, so small d is novel by direction by construction. Entropy: bits, of the "
    "tokens that a feature fires on. 'dense, another seed' is what retraining alone gives. The paper's definitions."
)


def draw(ledger: Path) -> Drawing | None:
    """Draw from the experiment's ledger; None where it holds nothing."""
    identity, found = read_ledger(ledger)
    records = records_of(found, NoveltyRecord) if identity.get("kind") == KIND else []
    if not records:
        return None
    k = max(records, key=lambda r: r.dense).k if any(r.dense for r in records) else records[0].k
    over_d = sorted((r for r in records if r.k == k and not r.dense), key=lambda r: r.d)
    figure, axes = grid(2, 2, TWO_COLUMNS / 2, 2.3)
    _over(axes[0][0], over_d, "d")
    retrained = [r for r in records if r.dense]
    for name, colour in (("jaccard_novel", BLUE), ("cosine_novel", ORANGE)):
        for record in retrained:
            axes[0][0].axhline(getattr(record, name), color=colour, lw=0.8, ls=":")
    axes[0][0].set_xlabel(f"$d$ ($k = {k}$; dotted: dense, another seed)")
    ks = _over_k(records)
    _over(axes[0][1], ks, "k")
    axes[0][1].set_xlabel(f"$k$ (d = {ks[0].d})" if ks else "$k$")
    for axis in axes[0]:
        axis.set_ylabel("share of novel features")
    if over_d:
        tenths = over_d[0].tenths
        rate = [t.rate for t in tenths]
        axes[1][0].plot(rate, [t.jaccard for t in tenths], color=BLUE, marker="o", ms=3, label="observed")
        axes[1][0].plot(rate, [t.null_jaccard for t in tenths], color=GREY, marker="x", ms=3, ls="--", label="null")
        axes[1][0].set(xscale="log", xlabel=f"firing rate (tenths of features, d = {over_d[0].d})")
        axes[1][0].set_ylabel("mean best Jaccard")
        axes[1][0].legend(frameon=False, fontsize=7)
        d = [r.d for r in over_d]
        axes[1][1].plot(d, [r.entropy_median for r in over_d], color=GREEN, marker="o", ms=3, label="median, quartiles")
        low, high = zip(*(r.entropy_quartiles for r in over_d), strict=True)
        axes[1][1].fill_between(d, low, high, color=GREEN, alpha=0.2, lw=0)
        for record in retrained:
            axes[1][1].axhline(record.entropy_median, color=BLACK, lw=0.8, ls=":", label="dense")
        axes[1][1].set_xscale("log", base=2)
        axes[1][1].xaxis.set_major_formatter("{x:g}")
        axes[1][1].set(xlabel="$d$", ylabel="token entropy (bits)")
        axes[1][1].legend(frameon=False, fontsize=7)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    size = f"$m = {identity['m']}$, $n = {identity['n']}$"
    figure.suptitle(f"{model_name(identity['model'])}: {size}", fontsize=9)
    rows = [_row(record) for record in records]
    table = Table("Feature novelty against the dense SAE", rows, NOTE)
    tenths = [
        {"name": r.name, "tenth": i, **dict(sorted(vars(t).items()))}
        for r in records
        for i, t in enumerate(r.tenths, 1)
    ]
    data = {"feature_novelty": rows, "feature_novelty_tenths": tenths}
    return Drawing({"feature_novelty": figure}, data, {"feature_novelty": table})


def _over_k(records: list[NoveltyRecord]) -> list[NoveltyRecord]:
    """The degree with most sparsities, over k."""
    groups: dict[int, list[NoveltyRecord]] = {}
    for record in records:
        if not record.dense:
            groups.setdefault(record.d, []).append(record)
    best = max(groups.values(), key=lambda rows: (len(rows), -rows[0].d), default=[])
    return sorted(best, key=lambda r: r.k)


def _over(axis: Any, rows: list[NoveltyRecord], name: str) -> None:
    x = [getattr(row, name) for row in rows]
    axis.plot(x, [row.jaccard_novel for row in rows], color=BLUE, marker="o", ms=3, label="by firing (Jaccard)")
    axis.plot(x, [row.null_novel for row in rows], color=GREY, marker="x", ms=3, ls="--", label="null: random firings")
    axis.plot(x, [row.cosine_novel for row in rows], color=ORANGE, marker="s", ms=3, label="by direction (cosine)")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_ylim(-0.04, 1.04)


def _row(record: NoveltyRecord) -> dict[str, Any]:
    low, high = record.entropy_quartiles
    keys = ("jaccard_novel", "null_novel", "jaccard_median", "null_median", "cosine_novel", "cosine_median")
    return {
        **{key: getattr(record, key) for key in ("name", "label", "d", "k", "alive", "tokens")},
        **{key: getattr(record, key) for key in keys},
        "entropy_median": record.entropy_median,
        "entropy_q25": low,
        "entropy_q75": high,
    }
