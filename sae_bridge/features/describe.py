"""One feature as plain data: everything that its page shows, and that the JSON beside it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expander_theory.base import progress_bar
from sae_bridge.evaluation import AnySAE
from sae_bridge.features.effects import Effects, directions, effects
from sae_bridge.features.gather import Gathered, Look
from sae_bridge.features.neighbours import nearest_by_cosine, nearest_by_firing
from sae_bridge.features.spelling import Spelling
from sae_bridge.models import Hook, LanguageModel

_ROWS = 12
"""Rows of a column that are shown: of a sparse one usually all."""
_TOKENS_OF_ROW = 4
_BLOCK = 256
_DIGITS = 4


@dataclass(frozen=True)
class Verdict:
    """What a judge said of a feature: its explanation, and a score in [0, 1]."""

    explanation: str | None
    score: float | None


def described(
    sae: AnySAE,
    model: LanguageModel,
    seen: Gathered,
    look: Look,
    verdicts: Mapping[int, Verdict] | None = None,
    *,
    hook: Hook = "resid_post",
    progress: bool = True,
) -> Iterator[dict[str, Any]]:
    """The chosen features one after another, as JSON-able fields.

    Args:
        sae, model: the SAE and its language model.
        seen, look: what :func:`sae_bridge.features.gather` found, and how it looked.
        verdicts: what judges said, by feature.
        hook: where the activations are. What is read inside a block ("mlp_in", "attn_z") is not written to the residual
            stream as it is, so that no token is promoted or suppressed: these lists are empty.
        progress: show a bar.
    """
    spelling, verdicts = Spelling(model.tokenizer), verdicts or {}
    by_cosine, cosine = nearest_by_cosine(sae, seen.features)
    by_firing, jaccard = nearest_by_firing(seen.together, seen.counts, seen.features)
    written = hook not in ("mlp_in", "attn_z")
    of_rows = effects(model, torch.eye(model.m), _TOKENS_OF_ROW) if written else None
    starts = range(0, len(seen.features), _BLOCK)
    for start in progress_bar(starts, unit=f"x{_BLOCK} features", desc="features: pages", show=progress):
        block = seen.features[start : start + _BLOCK]
        w = directions(sae, block)
        logits = effects(model, w) if written else None
        for i in range(len(block)):
            at, feature = start + i, int(block[i])
            verdict = verdicts.get(feature)
            yield {
                "feature": feature,
                **_rates(seen, at),
                "effective_degree": _rounded(_effective_degree(w[i])),
                "promotes": _tokens(logits.promoted[i], logits.up[i], spelling) if logits else [],
                "suppresses": _tokens(logits.suppressed[i], logits.down[i], spelling) if logits else [],
                "rows": _rows(w[i], of_rows, spelling),
                "nearest_by_cosine": _near(by_cosine[at], cosine[at], "cosine"),
                "nearest_by_firing": _near(by_firing[at], jaccard[at], "jaccard"),
                "histogram": {
                    "low": _rounded(seen.low[at]),
                    "high": _rounded(seen.high[at]),
                    "counts": seen.histogram[at].tolist(),
                },
                "explanation": verdict and verdict.explanation,
                "score": verdict and verdict.score,
                "examples": list(_examples(seen, look, at, spelling)),
            }


def top_tokens(fields: Mapping[str, Any], count: int = 3) -> list[str]:
    """The tokens at the peaks of a feature's strongest examples, the most frequent first."""
    peaks = [
        example["tokens"][int(np.argmax(np.abs(example["acts"])))]
        for example in fields["examples"]
        if example["group"] == "largest"
    ]
    return [token for token, _ in Counter(peaks).most_common(count)]


def _rates(seen: Gathered, at: int) -> dict[str, Any]:
    count = int(seen.counts[seen.features[at]])
    return {
        "count": count,
        "tokens": seen.tokens,
        "rate": _rounded(count / max(1, seen.tokens)),
        "negative": _rounded(seen.negative[at] / max(1, count)),
        "mean": _rounded(seen.mean[at]),
        "largest": _rounded(seen.largest[at]),
    }


def _effective_degree(w: Tensor) -> float:
    square = w.double().square()
    return float(square.sum() ** 2 / square.square().sum()) if bool(square.any()) else 0.0


def _tokens(ids: NDArray[np.int64], sizes: NDArray[np.float32], spelling: Spelling) -> list[dict[str, Any]]:
    return [
        {"token": int(i), "text": spelling.text(int(i)), "effect": _rounded(size)}
        for i, size in zip(ids, sizes, strict=True)
    ]


def _rows(w: Tensor, of_rows: Effects | None, spelling: Spelling) -> list[dict[str, Any]]:
    """The rows of largest value; a negative one promotes what its row suppresses."""
    values = w.numpy()
    order = np.argsort(-np.abs(values), kind="stable")[:_ROWS]
    found = []
    for row in order[values[order] != 0]:
        if of_rows is None:
            found.append({"row": int(row), "value": _rounded(values[row]), "promotes": [], "suppresses": []})
            continue
        ends = (of_rows.promoted, of_rows.suppressed) if values[row] > 0 else (of_rows.suppressed, of_rows.promoted)
        texts = [[spelling.text(int(i)) for i in end[row]] for end in ends]
        found.append({"row": int(row), "value": _rounded(values[row]), "promotes": texts[0], "suppresses": texts[1]})
    return found


def _near(features: NDArray[np.int64], sizes: NDArray[np.float32], name: str) -> list[dict[str, Any]]:
    return [{"feature": int(j), name: _rounded(size)} for j, size in zip(features, sizes, strict=True) if size > 0]


def _examples(seen: Gathered, look: Look, at: int, spelling: Spelling) -> Iterator[dict[str, Any]]:
    for e in range(look.top + look.quantiles * look.each):
        if seen.windows[at, e] < 0:
            continue
        ids = seen.ids[at, e]
        length = int((ids >= 0).sum())
        group = "largest" if e < look.top else f"quantile {(e - look.top) // look.each + 1} of {look.quantiles}"
        yield {
            "group": group,
            "window": int(seen.windows[at, e]),
            "peak": _rounded(seen.peaks[at, e]),
            "ids": ids[:length].tolist(),
            "tokens": [spelling.text(int(i)) for i in ids[:length]],
            "acts": [_rounded(a) for a in seen.acts[at, e, :length]],
        }


def _rounded(value: Any) -> float:
    """Four digits: what a page shows, and what keeps the JSON small."""
    value = float(value)
    return 0.0 if value == 0 else float(f"{value:.{_DIGITS}g}")
