"""``expander sae features``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sae_bridge.activations import ActivationStore
    from sae_bridge.evaluation import AnySAE
    from sae_bridge.features import Verdict


@dataclass(frozen=True)
class Features:
    """Write a page for each feature of an SAE. Opens from disk: an index to search and sort, and JSON beside.

    Contexts of largest activation and of every quantile, a histogram, tokens that a feature promotes and suppresses,
    its rows in the residual stream with the rows' own tokens, features near it. SAELens's and sparsify's folders too.
    """

    sae: tyro.conf.Positional[Path]
    """Folder written by `expander sae train`, SAELens or sparsify."""
    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`."""
    out: Path
    """Folder for the pages: open its `index.html`."""
    features: tuple[int, ...] = ()
    """Only these."""
    sample: int | None = None
    """Only so many, drawn at random."""
    split: Literal["train", "held_out"] = "train"
    """Whose text is shown."""
    contexts: int | None = None
    """Only the first so many contexts of it; default: all."""
    top: int = 10
    """Examples of largest activation."""
    each: int = 3
    """Examples from each quarter of a feature's contexts, by activation."""
    judged: Path | None = None
    """Folder of `expander sae judge`: its explanations and scores are shown."""
    seed: int = 0
    """Of samples."""
    model: str | None = None
    """The language model; default: the one that the activations were harvested from."""
    k: int | None = None
    """For imported SAEs with thresholds, which do not say it."""
    other_activations: bool = False
    """Accept an SAE that was trained on other text, or that does not say on which activations."""
    other_place: bool = False
    """Accept also an SAE of another layer, hook or language model than these activations'."""
    force: bool = False
    """Write over pages that are there."""
    device: str = "cpu"
    """Torch device of the model and the SAE."""

    def run(self) -> None:
        from sae_bridge.activations import ActivationStore
        from sae_bridge.commands.loading import load_saes
        from sae_bridge.evaluation import require_harvested_from
        from sae_bridge.features import Look, chosen_features, described, gather, require_writable, write_pages
        from sae_bridge.models import load_language_model

        require_writable(self.out, force=self.force)
        look = Look(
            split=self.split,
            contexts=self.contexts,
            top=self.top,
            each=self.each,
            pool=max(64, 4 * self.each),
            seed=self.seed,
        )
        verdicts = self._verdicts()
        store = ActivationStore(self.activations)
        accepted = {"other_activations": self.other_activations, "other_place": self.other_place}
        sae = load_saes([self.sae], store, self.device, k=self.k, **accepted)[str(self.sae)][0]
        chosen = chosen_features(sae.n, self.features, self.sample, seed=self.seed)
        model = load_language_model(self.model or store.description["model"], device=self.device)
        require_harvested_from(store, model, self.split)
        seen = gather(sae, store, chosen, look)
        about = _about(self.sae, sae, store, seen.tokens, chosen)
        pages = described(sae, model, seen, look, verdicts, hook=store.description["hook"])
        size = write_pages(self.out, about, pages)
        print(f"{self.out / 'index.html'}: {len(chosen):,} features, {seen.tokens:,} tokens, {size / 1e6:.1f} MB")

    def _verdicts(self) -> dict[int, Verdict]:
        """What a judge said of this SAE's features; the score is the mean of its tests."""
        from expander_theory.results import JudgedRecord, read_records
        from sae_bridge.features import Verdict
        from sae_bridge.judging import ledger_in

        if self.judged is None:
            return {}
        found = {}
        for record in read_records(ledger_in(self.judged), JudgedRecord):
            if Path(record.sae).resolve() == self.sae.resolve():
                scores = [score for score in (record.detection, record.fuzzing) if score is not None]
                found[record.feature] = Verdict(record.explanation, sum(scores) / len(scores) if scores else None)
        return found


def _about(path: Path, sae: AnySAE, store: ActivationStore, tokens: int, features: NDArray[Any]) -> dict[str, Any]:
    """What the index says of the SAE."""
    about, sparse = store.description, getattr(sae, "mask", None) is not None
    architecture = getattr(sae, "architecture", "dense")
    degree = f", d = {sae.weight.shape[1]}" if sparse else ""
    dense = getattr(sae, "dense", None)
    beside = "" if dense is None else f", {len(dense)} dense columns"
    facts = (
        ("language model", f"{about['model']}, {about['hook']} of layer {about['layer']}"),
        ("decoder", f"{architecture}: m = {sae.m}, n = {sae.n}{degree}{beside}"),
        ("code", f"{sae.encoding} encoder, {sae.activation}"),
        ("text", f"{tokens:,} tokens that count"),
        ("features shown", f"{len(features):,} of {sae.n:,}"),
    )  # fmt: skip
    if sparse:
        note = "The rows that its column lies on, with the tokens that each row promotes and suppresses at this sign."
    else:
        note = "The 12 largest of m rows (a dense column has all), with the tokens that each promotes and suppresses."
    return {"title": f"Features of {path.name}", "facts": facts, "n": sae.n, "features": features, "rows_note": note}
