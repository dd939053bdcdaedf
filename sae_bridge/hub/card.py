"""The model card of an SAE in a repository: what it is, what it was measured to be worth, and beside what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from expander_theory.base import InvalidFile
from expander_theory.results import Size, read_json, typed

_Interval = tuple[float, float] | None
NULL = "null"
"""The architecture that evaluations give to codes without learning."""


class EvaluatedRow(TypedDict):
    """What a card says of one SAE or null, of what ``expander sae eval --out`` or ``sae pack --table`` wrote."""

    name: str
    architecture: str
    m: Size
    n: Size
    d: Size
    k: Size
    fvu: float
    fvu_interval: _Interval
    l0: float
    l0_interval: _Interval
    delta: float
    delta_interval: _Interval
    recovered_zero: float | None
    recovered_zero_interval: _Interval
    documents: Size
    tokens: Size


@dataclass(frozen=True)
class Evaluation:
    """Rows of one evaluation.

    Attributes:
        own: the SAE's.
        nulls: of codes without learning, on the same text.
    """

    own: EvaluatedRow
    nulls: tuple[EvaluatedRow, ...]


@dataclass(frozen=True)
class Card:
    """What a card says.

    Attributes:
        load: the name by which it is loaded, ``hf:owner/repo[:path]``.
        about: the SAE's configuration.
        training: how it was trained, as far as known.
        files: names and bytes of the SAE's files.
        values: format of its values where it is packed; None for float32 in a folder.
        evaluation: None where it was not evaluated.
        licence: as the Hub names them; None to say nothing.
    """

    load: str
    about: Mapping[str, Any]
    training: Mapping[str, Any]
    files: Mapping[str, int]
    values: str | None
    evaluation: Evaluation | None
    licence: str | None

    def text(self) -> str:
        """The README.md, metadata in YAML first."""
        sections = [_metadata(self), f"# {self._title()}", self._what(), self._how_to_load()]
        sections.append(_measured(self.evaluation) if self.evaluation else "## Fidelity\n\nNot evaluated.")
        return "\n\n".join([*sections, self._training()]) + "\n"

    def _title(self) -> str:
        about = self.about
        kind = {"expander": f"Expander SAE, d = {about['d']}", "dense": "Dense SAE"}.get(
            str(about["architecture"]), f"SAE with {about.get('dense_columns')} dense columns, d = {about['d']}"
        )
        return f"{kind}, n = {about['n']}, k = {about['k']}"

    def _what(self) -> str:
        about, training = self.about, self.training
        model = training.get("language_model", "an unnamed language model")
        place = f"layer {training['layer']}, {training['hook']}, " if {"layer", "hook"} <= training.keys() else ""
        columns = "" if about["architecture"] == "dense" else f", each on {about['d']} of the {about['m']} coordinates"
        values = f", values in {self.values}" if self.values else ""
        files = "\n".join(f"| `{name}` | {size:,} |" for name, size in self.files.items())
        return (
            f"A sparse autoencoder of {about['n']} features{columns}, on activations of {model} ({place}"
            f"m = {about['m']}). Encoder: {about['encoder']}; activation: {about['activation']}{values}.\n\n"
            f"| file | bytes |\n|---|---|\n{files}"
        )

    def _how_to_load(self) -> str:
        return (
            "## How to load\n\nWith the toolkit `expander-theory`, `pip install 'expander-theory[sae]'`:\n\n```python\n"
            f'from sae_bridge.sae import load_sae\n\nsae, fields = load_sae("{self.load}")\n'
            "acts, indices = sae.encode(h)  # h: activations (batch, m)\nh_hat = sae.decode(acts, indices)\n```\n\n"
            f"or `expander sae eval ACTIVATIONS {self.load}`."
        )

    def _training(self) -> str:
        rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in sorted(self.training.items()))
        return "## Training\n\n" + (f"| field | value |\n|---|---|\n{rows}" if rows else "Not known.")


def read_evaluation(path: Path, name: str, about: Mapping[str, Any], values: str | None) -> Evaluation:
    """The rows of a file of ``expander sae eval --out`` or ``expander sae pack --table`` that concern one SAE.

    Args:
        name: by which it was evaluated; not needed where the file has one SAE.
        about: its configuration, whose sizes the row must have.
        values: of a packed one, by which a table of packings is searched.

    Raises:
        InvalidFile: not such a file, or without this SAE.
    """
    raw = read_json(path, list[dict[str, Any]])
    rows = [(entry, _row(path, entry)) for entry in raw]
    own = [pair for pair in rows if pair[1]["architecture"] != NULL]
    if any("values" in entry for entry, _ in own):
        own = [(entry, row) for entry, row in own if entry.get("values") == values]
    if len(own) > 1:
        own = [(entry, row) for entry, row in own if row["name"] == name]
    if len(own) != 1:
        known = ", ".join(row["name"] for _, row in rows if row["architecture"] != NULL) or "none"
        raise InvalidFile(path, f"holds no evaluation of {name}{f' in {values}' if values else ''}; it has {known}")
    row = own[0][1]
    other = [key for key in ("m", "n", "d", "k") if row[key] != about[key]]
    if other:
        said = ", ".join(f"{key} is {row[key]} there and {about[key]} here" for key in other)
        raise InvalidFile(path, f"is of another SAE: {said}")
    return Evaluation(row, tuple(found for _, found in rows if found["architecture"] == NULL))


def _row(path: Path, entry: Mapping[str, Any]) -> EvaluatedRow:
    known = {key: value for key, value in entry.items() if key in EvaluatedRow.__annotations__}
    optional = [key for key in EvaluatedRow.__annotations__ if key.endswith("_interval")] + ["recovered_zero"]
    return typed(path, {**dict.fromkeys(optional), **known}, EvaluatedRow)


def verdict(evaluation: Evaluation) -> str:
    """Whether the SAE is worth more than codes that have learned nothing, in words."""
    own, nulls = evaluation.own, evaluation.nulls
    if not nulls:
        return "It was not compared with codes that have learned nothing: nothing follows from these figures."
    by: dict[str, list[str]] = {"beats": [], "is not told apart from": [], "is worse than": []}
    for null in nulls:
        by[_against(own, null)].append(null["name"])
    said = "; it ".join(f"{how} {', '.join(names)}" for how, names in by.items() if names)
    return (
        f"By the rise of the cross-entropy it {said}. (It beats one where the 95 % intervals do not meet; the same "
        "text, the same token positions.)"
    )


def _against(own: EvaluatedRow, null: EvaluatedRow) -> str:
    mine = own["delta_interval"] or (own["delta"], own["delta"])
    other = null["delta_interval"] or (null["delta"], null["delta"])
    if mine[1] < other[0]:
        return "beats"
    return "is worse than" if mine[0] > other[1] else "is not told apart from"


def _measured(evaluation: Evaluation) -> str:
    own = evaluation.own
    lines = ["| | FVU | L0 | CE recovered | delta CE (nats) |", "|---|---|---|---|---|"]
    named: Sequence[tuple[str, EvaluatedRow]] = [
        ("**this SAE**", own),
        *((row["name"], row) for row in evaluation.nulls),
    ]
    for name, row in named:
        recovered = _with(row["recovered_zero"], row["recovered_zero_interval"])
        cells = (_with(row["fvu"], row["fvu_interval"]), f"{row['l0']:.1f}", recovered)
        lines.append(f"| {' | '.join((name, *cells, _with(row['delta'], row['delta_interval'])))} |")
    about = (
        f"On {own['tokens']:,} held-out tokens of {own['documents']} documents; 95 % bootstrap intervals. CE "
        "recovered: against zero ablation. The other rows are codes that have learned nothing."
    )
    return "## Fidelity\n\n" + "\n".join(lines) + f"\n\n{about}\n\n**{verdict(evaluation)}**"


def _metadata(card: Card) -> str:
    model = str(card.training.get("language_model", ""))
    lines = ["library_name: expander-theory", "tags:", "- sparse-autoencoder", "- interpretability"]
    if card.about["architecture"] != "dense":
        lines.append("- expander")
    if model.count("/") == 1 and not model.startswith(("/", ".")) and not Path(model).exists():
        lines.append(f"base_model: {json.dumps(model)}")
    if card.licence:
        lines.append(f"license: {json.dumps(card.licence)}")
    return "\n".join(["---", *lines, "---"])


def _with(value: float | None, interval: _Interval) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")
