"""``expander sae judge``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from expander_theory.results import JudgedRecord
    from sae_bridge.activations import ActivationStore
    from sae_bridge.evaluation import AnySAE


@dataclass(frozen=True)
class Judge:
    """Let a judge explain features and test its explanations. Detection and fuzzing scores, by SAE.

    The judge is a language model that you bring. It sees features of all SAEs in random order and not whose they are;
    every answer is stored, so that a second run asks for nothing twice. Scores: .5 is chance, 1 is perfect.
    """

    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`."""
    saes: tyro.conf.Positional[tuple[Path, ...]]
    """Folders written by `expander sae train`, SAELens or sparsify."""
    out: Path
    """Folder for the answers and scores; `expander sae features --judged` shows them."""
    judge: str = "default"
    """A language model as `expander sae harvest` takes it, or the address of an endpoint in the OpenAI convention,
    http://127.0.0.1:8000. The default model only shows that everything works: it is far too small to judge."""
    judge_model: str | None = None
    """The name that an endpoint is asked for. A key, if it wants one, is read from EXPANDER_JUDGE_KEY."""
    sample: int = 25
    """Features of each SAE, drawn at random among those that fire in enough places."""
    features: tuple[int, ...] = ()
    """These features instead (of one SAE)."""
    explain: int = 20
    """Texts that a feature is explained from."""
    test: int = 20
    """Texts with activity that the explanation is tested on, and as many without."""
    at_once: int = 5
    """Texts in a question."""
    prompts: Path | None = None
    """Folder of other prompts: `explain.txt`, `detection.txt`, `fuzzing.txt`."""
    split: Literal["train", "held_out"] = "train"
    """Whose text is shown."""
    contexts: int | None = None
    """Only the first so many contexts of it; default: all."""
    nulls: Literal["coordinates", "none"] = "coordinates"
    """Coordinates of the activations are features too: they are judged beside the SAEs', at the first SAE's k."""
    dry_run: bool = False
    """Only say how much would be asked."""
    seed: int = 0
    """Of all samples."""
    model: str | None = None
    """The language model of the activations; default: the one that they were harvested from."""
    k: int | None = None
    """For imported SAEs with thresholds, which do not say it."""
    other_activations: bool = False
    """Accept SAEs that were trained on other text, or that do not say on which activations."""
    other_place: bool = False
    """Accept also SAEs of another layer, hook or language model than these activations'."""
    device: str = "cpu"
    """Torch device of models and SAEs."""

    def run(self) -> None:
        from expander_theory.base import require
        from expander_theory.results import AnswerRecord, Ledger, read_records, table
        from sae_bridge.activations import ActivationStore
        from sae_bridge.commands.loading import load_saes
        from sae_bridge.evaluation import Nulls, active_features, require_harvested_from
        from sae_bridge.features import Spelling
        from sae_bridge.judging import (
            Answers,
            Sizes,
            cost,
            identity,
            judge_features,
            judge_named,
            ledger_in,
            read_prompts,
            shown_features,
        )
        from sae_bridge.models import load_language_model

        require(self.sample >= 1, "sample", self.sample, "must be at least 1")
        one = not self.features or len(self.saes) == 1
        require(one, "features", self.features, "go with one SAE")
        sizes = Sizes(explain=self.explain, test=self.test, at_once=self.at_once, seed=self.seed)
        prompts, judge = read_prompts(self.prompts), judge_named(self.judge, self.judge_model, device=self.device)
        store = ActivationStore(self.activations)
        accepted = {"other_activations": self.other_activations, "other_place": self.other_place}
        loaded = load_saes(self.saes, store, self.device, k=self.k, **accepted)
        saes: dict[str, AnySAE] = {folder: sae for folder, (sae, _) in loaded.items()}
        if self.nulls == "coordinates":
            k = active_features(next(iter(saes.values())), store)
            saes |= {null.label: null.build().to(self.device) for null in Nulls(store).at(k, ("coordinates",))}
        model = load_language_model(self.model or store.description["model"], device=self.device)
        require_harvested_from(store, model, self.split)
        spelling = Spelling(model.tokenizer)
        shown = {
            name: shown_features(
                *(sae, store, self._candidates(sae, store, name), spelling, sizes),
                split=self.split,
                contexts=self.contexts,
                most=len(self.features) or self.sample,
            )
            for name, sae in saes.items()
        }
        about = {"activations_sha256": store.sha256, "split": self.split, "contexts": self.contexts}
        left = sorted(set(self.features) - {one.feature for one in shown[str(self.saes[0])]})
        if left:
            print(f"Not judged, because they fire in too few places or in nearly all: {', '.join(map(str, left))}")
        path = ledger_in(self.out)
        if self.dry_run:
            known = read_records(path, AnswerRecord) if path.is_file() else []
            print(cost(shown, judge, prompts, sizes, Answers(judge, None, known)))
            return
        with Ledger(path, identity(judge, prompts, sizes, about)) as ledger:
            answers = Answers(judge, ledger)
            print(cost(shown, judge, prompts, sizes, answers), flush=True)
            records = judge_features(shown, answers, prompts, sizes, ledger)
        print(table([_row(name, [r for r in records if r.sae == name], self.seed) for name in saes]))
        print(f"\n{_NOTE}")

    def _candidates(self, sae: AnySAE, store: ActivationStore, name: str) -> Any:
        """Features to look at: more than are wanted, because some fire too rarely or nearly always."""
        from sae_bridge.features import chosen_features

        if self.features and name == str(self.saes[0]):
            return chosen_features(sae.n, self.features)
        return chosen_features(sae.n, (), min(sae.n, 4 * self.sample), seed=self.seed)


def _row(name: str, records: Sequence[JudgedRecord], seed: int) -> dict[str, Any]:
    """The scores of one SAE as a row of the table."""
    row: dict[str, Any] = {"SAE": name, "features": len(records)}
    for test in ("detection", "fuzzing"):
        row[test] = _mean([value for r in records if (value := getattr(r, test)) is not None], seed)
    asked = sum(r.questions for r in records)
    return row | {"answers not read": f"{sum(r.unread for r in records) / asked:.1%}" if asked else None}


def _mean(values: list[float], seed: int) -> str | None:
    """Mean with a 95 % bootstrap interval over features."""
    from expander_theory.statistics import bootstrap_mean

    if not values:
        return None
    mean, low, high = bootstrap_mean(values, seed=seed)
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


_NOTE = (
    "Balanced accuracy, mean over features; .5 is chance. Brackets: 95 % bootstrap over features. Detection: from its "
    "explanation, in which texts is the feature active? Fuzzing: are the marked tokens those on which it is active? "
    "Answers that could not be read as a list of ones and zeros count in neither."
)
