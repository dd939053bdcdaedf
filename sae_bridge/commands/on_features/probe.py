"""``expander sae probe``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Probe:
    """Probe labels of texts by a few features of SAEs. Against coordinates, principal components, everything.

    Texts are read as far as a context goes; codes are averaged over its tokens. For each label the features whose class
    means differ most on training texts; a logistic regression on them; balanced accuracy on test texts, .5 is chance.
    """

    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`: model, layer, hook and policy are its own."""
    saes: tyro.conf.Positional[tuple[Path, ...]]
    """Folders written by `expander sae train`, SAELens or sparsify."""
    texts: str = "bbc"
    """bbc (`expander fetch bbc`: news in five classes), a .csv file, or a folder of folders of .txt files."""
    text_column: str = "text"
    """Of a .csv file."""
    label_column: str = "label"
    """Of a .csv file."""
    documents: int | None = 1000
    """At most so many texts, a fixed sample."""
    ks: tuple[int, ...] = (1, 5, 20)
    """Features of a probe."""
    out: Path | None = None
    """Also write everything, the chosen features too, to this JSON file."""
    model: str | None = None
    """The language model; default: the one that the activations were harvested from."""
    k: int | None = None
    """For imported SAEs with thresholds, which do not say it."""
    seed: int = 0
    """Of the intervals' resampling."""
    other_activations: bool = False
    """Accept SAEs that were trained on other text, or that do not say on which activations."""
    other_place: bool = False
    """Accept also SAEs of another layer, hook or language model than these activations'."""
    force: bool = False
    """Overwrite an existing file."""
    device: str = "cpu"
    """Torch device of the model and the SAEs."""

    def run(self) -> None:
        from expander_theory.results import require_new, table, write_json
        from sae_bridge.activations import ActivationStore
        from sae_bridge.commands.loading import load_saes
        from sae_bridge.evaluation import Nulls, active_features, require_harvested_from
        from sae_bridge.models import load_language_model
        from sae_bridge.probing import pooled, probes, read_labelled

        if self.out is not None:
            require_new(self.out, self.force)
        labelled = read_labelled(self.texts, text=self.text_column, label=self.label_column).first(self.documents)
        store = ActivationStore(self.activations)
        accepted = {"other_activations": self.other_activations, "other_place": self.other_place}
        loaded = load_saes(self.saes, store, self.device, k=self.k, **accepted)
        model = load_language_model(self.model or store.description["model"], device=self.device)
        require_harvested_from(store, model, "held_out")
        saes = {folder: sae for folder, (sae, _) in loaded.items()}
        nulls = Nulls(store).at(active_features(next(iter(saes.values())), store), ("coordinates",))
        beside = {null.label: null.build().to(self.device) for null in nulls}
        found = pooled(labelled.texts, model, store, {**saes, **beside})
        directions = Nulls(store).directions.numpy()
        sets = {**found.codes, "coordinates": found.raw, "principal components": found.raw @ directions.T}
        rows = [probe for name, x in sets.items() for probe in probes(name, x, labelled, self.ks, seed=self.seed)]
        rows += probes("all coordinates", found.raw, labelled, (None,), seed=self.seed)
        names = list(dict.fromkeys(row.features for row in rows))
        shown = []
        for name in names:
            cells = {
                row.k: f"{row.accuracy:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in rows if row.features == name
            }
            shown.append({"features": name, **{f"k = {k}": cells.get(k) for k in self.ks}, "all": cells.get(None)})
        print(table(shown))
        count, labels = len(labelled.texts), sorted(set(labelled.labels))
        print(
            f"\n{count:,} texts, {sum(labelled.test):,} of them for testing; labels: {', '.join(labels)}. Balanced "
            "accuracy of one label against the others, mean over labels; brackets: 95 % bootstrap over test texts."
        )
        if self.out is not None:
            about = {"texts": labelled.name, "texts_sha256": labelled.sha256, "documents": count, "labels": labels}
            write_json(self.out, {**about, "probes": [asdict(row) for row in rows]})
