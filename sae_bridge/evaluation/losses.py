"""Cross-entropy and KL divergence by held-out context and run: what is stored, and what it says of fidelity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

from expander_theory.base import InvalidArgument, require, require_choice
from expander_theory.results import Count
from sae_bridge.evaluation.intervals import Bootstrap, Interval, Resample

Positions = Literal["kept", "all"]
Floats = NDArray[np.float64]

BASELINES = ("clean", "zero", "mean")
"""Runs that every measurement has: no change, zero ablation, mean ablation."""


@dataclass(frozen=True)
class Fidelity:
    """Fidelity to the model, in nats per token; intervals are 95 % bootstrap, of the unit ``resample``.

    Attributes:
        ce: mean cross-entropy with the replacement in place.
        ce_clean, ce_zero, ce_mean: without any change, and with zero and mean ablation.
        delta: ce - ce_clean.
        recovered_zero: (ce_zero - ce) / (ce_zero - ce_clean); None, with its interval, where ablation does not clearly
            raise the loss (the interval of the denominator reaches zero).
        recovered_mean: the same against mean ablation.
        kl: mean KL divergence of the predictions from the clean ones, KL(clean || replaced).
        kl_zero, kl_mean: the same of the ablated ones.
        predictions: predictions in the mean cross-entropies; the KL divergences also have those of a context's end.
        documents, contexts: held-out ones measured.
        resample, positions, baseline: what was chosen.
    """

    ce: float
    ce_interval: Interval | None
    ce_clean: float
    ce_clean_interval: Interval | None
    ce_zero: float
    ce_zero_interval: Interval | None
    ce_mean: float
    ce_mean_interval: Interval | None
    delta: float
    delta_interval: Interval | None
    recovered_zero: float | None
    recovered_zero_interval: Interval | None
    recovered_mean: float | None
    recovered_mean_interval: Interval | None
    kl: float
    kl_interval: Interval | None
    kl_zero: float
    kl_zero_interval: Interval | None
    kl_mean: float
    kl_mean_interval: Interval | None
    predictions: int
    documents: int
    contexts: int
    resample: Resample
    positions: Positions
    baseline: Positions


@dataclass(frozen=True)
class Losses:
    """Sums over each held-out context, arrays of shape (contexts,); in nats where not a count.

    Attributes:
        store_sha256, model_fingerprint: what was measured.
        positions, baseline: as :func:`sae_bridge.evaluation.measure_losses` takes them.
        documents: number of the document of each context.
        predictions: predictions of a next token that count.
        distributions: predictions that count, with that of the context's last token, whose outcome is unknown.
        ce: cross-entropy summed over ``predictions``, by run; has those of :data:`BASELINES`.
        kl: KL(clean || run) summed over ``distributions``, by run; has those of :data:`BASELINES`.
    """

    store_sha256: str
    model_fingerprint: str
    positions: Positions
    baseline: Positions
    documents: NDArray[np.int64]
    predictions: NDArray[np.int64]
    distributions: NDArray[np.int64]
    ce: dict[str, Floats]
    kl: dict[str, Floats]

    def fidelity(self, run: str, resample: Resample | None = None) -> Fidelity:
        """What a run says.

        Args:
            run: its name.
            resample: see :class:`sae_bridge.evaluation.Bootstrap`.

        Raises:
            InvalidArgument: no such run, or an unknown unit.
        """
        require_choice("run", run, tuple(self.ce))
        bootstrap = Bootstrap(self.documents, resample)
        ce, kl = self.ce, self.kl
        found: dict[str, Any] = {}

        def put(name: str, value: tuple[float | None, Interval | None]) -> None:
            found[name], found[f"{name}_interval"] = value

        put("ce", bootstrap.mean(ce[run], self.predictions))
        put("kl", bootstrap.mean(kl[run], self.distributions))
        put("delta", bootstrap.mean(ce[run] - ce["clean"], self.predictions))
        put("ce_clean", bootstrap.mean(ce["clean"], self.predictions))
        for ablation in ("zero", "mean"):
            put(f"ce_{ablation}", bootstrap.mean(ce[ablation], self.predictions))
            put(f"kl_{ablation}", bootstrap.mean(kl[ablation], self.distributions))
            put(f"recovered_{ablation}", bootstrap.ratio(ce[ablation] - ce[run], ce[ablation] - ce["clean"]))
        return Fidelity(
            **found,
            predictions=int(self.predictions.sum()),
            documents=len(np.unique(self.documents)),
            contexts=len(self.documents),
            resample=bootstrap.resample,
            positions=self.positions,
            baseline=self.baseline,
        )

    def baselines(self) -> Losses:
        """Without the runs of replacements."""
        ce, kl = ({name: values[name] for name in BASELINES} for values in (self.ce, self.kl))
        return Losses(**{**vars(self), "ce": ce, "kl": kl})

    def as_fields(self) -> dict[str, Any]:
        """JSON-able fields from which :meth:`from_fields` makes this object again."""
        plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}
        for name in ("ce", "kl"):
            plain[name] = {run: values.tolist() for run, values in plain[name].items()}
        return plain

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Losses:
        """The losses that :meth:`as_fields` described.

        Raises:
            InvalidArgument: other fields.
        """
        try:
            msgspec.convert(fields, _Fields)
        except msgspec.ValidationError as error:
            raise InvalidArgument("fields", "given", f"are not those of losses: {error}") from None
        more = sorted(set(fields) - set(_Fields.__annotations__))
        require(not more, "fields", more, "are not those of losses")
        arrays: dict[str, Any] = {name: fields[name] for name in _Fields.__annotations__}
        for name in ("documents", "predictions", "distributions"):
            arrays[name] = np.asarray(arrays[name], np.int64)
        shape = arrays["documents"].shape
        counts = [arrays[name].shape == shape for name in ("predictions", "distributions")]
        require(all(counts), "predictions", "of another length", f"must have one value for each of {shape} contexts")
        for name in ("ce", "kl"):
            arrays[name] = {run: np.asarray(values, float) for run, values in arrays[name].items()}
            require(set(BASELINES) <= set(arrays[name]), name, sorted(arrays[name]), f"must have {BASELINES}")
            same = all(values.shape == shape and np.isfinite(values).all() for values in arrays[name].values())
            require(same, name, "of mixed lengths", f"must have one finite value for each of {shape} contexts")
        return cls(**arrays)


class _Fields(TypedDict):
    """Losses as JSON."""

    store_sha256: str
    model_fingerprint: str
    positions: Literal["kept", "all"]
    baseline: Literal["kept", "all"]
    documents: list[Count]
    predictions: list[Count]
    distributions: list[Count]
    ce: dict[str, list[float]]
    kl: dict[str, list[float]]


def conventions(positions: Positions, baseline: Positions, resample: Resample) -> str:
    """What the figures of an evaluation mean, in words, for below a table."""
    kept, every = "the positions that count by the token policy of the activations", "every position"
    replaced = kept if positions == "kept" else every
    ablated = kept if "kept" == positions == baseline else every
    acted = f"Reconstructions and ablations act on {replaced}"
    if ablated != replaced:
        acted = f"Reconstructions act on {replaced}, ablations on {ablated}"
    others = "; the others keep their activation" if positions == "kept" else ""
    unit = "documents" if resample == "documents" else "contexts (of these documents)"
    return (
        f"Held-out text only; nats per token. {acted}{others}. CE and KL are means over the predictions made at the "
        f"reconstructed positions (CE: where a next token is there). Brackets: 95 % bootstrap over {unit}."
    )
