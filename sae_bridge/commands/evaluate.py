"""``expander sae eval``."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from collections.abc import Callable

    from expander_theory.results import Collapse, Measurement
    from sae_bridge.activations import ActivationStore
    from sae_bridge.commands.loading import Loaded
    from sae_bridge.evaluation import AnySAE, Null
    from sae_bridge.models import LanguageModel
    from sae_bridge.sae import Columns


@dataclass(frozen=True)
class Evaluate:
    """Evaluate trained SAEs on held-out text. FVU, L0, dead features, CE-loss recovered and KL, in one table.

    Beside them stand codes of the same k that have learned nothing, which a trained SAE has to beat: the k largest
    coordinates of h less its mean, k principal coordinates, OMP on an untrained mask of the same degree, the mean. For
    JumpReLU and Gated, whose number of features varies, k is their mean L0 on held-out text, rounded.
    """

    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`; of several places, each SAE is judged at its own."""
    saes: tyro.conf.Positional[tuple[Path, ...]]
    """Folders written by `expander sae train`, SAELens or sparsify, or a folder of such folders."""
    model: str | None = None
    """The language model; default: the one that the activations were harvested from."""
    positions: Literal["kept", "all"] = "kept"
    """Where reconstructions replace activations: the positions that count by the token policy, or all."""
    baseline: Literal["kept", "all"] = "kept"
    """Where zero and mean ablation act: the positions that count, or all (as sae-lens and others do)."""
    resample: Literal["documents", "contexts"] | None = None
    """What the intervals resample; default: documents, or contexts where there are fewer than 10 documents."""
    training_tokens: int | None = None
    """Training tokens that dead features are judged on besides the held-out ones; default: all."""
    out: Path | None = None
    """Also write everything to this JSON file."""
    other_activations: bool = False
    """Accept SAEs that were trained on other text, or that do not say on which activations."""
    other_place: bool = False
    """Accept also SAEs of another layer, hook or language model than these activations'."""
    features: bool = False
    """Also score features on held-out text, beside those of the nulls: are they a token, or more? A minute each."""
    contexts: int | None = 400
    """Training contexts that these scores' rates by token come from."""
    nulls: Literal["all", "coordinates", "none"] = "all"
    """Which codes without learning are evaluated too; each takes a run of the model over the held-out text."""
    k: int | None = None
    """For imported SAEs with thresholds, which do not say it."""
    force: bool = False
    """Overwrite an existing file."""
    device: str = "cpu"
    """Torch device of the model and the SAEs."""

    def run(self) -> None:
        from expander_theory.results import fields_of, require_new, table, table_row, write_json
        from sae_bridge.activations import stores_in
        from sae_bridge.commands.loading import load_by_place, sae_folders
        from sae_bridge.evaluation import DENSE_SHARE, conventions
        from sae_bridge.models import load_language_model

        if self.out is not None:
            require_new(self.out, self.force)
        stores = stores_in(self.activations)
        saes = load_by_place(
            sae_folders(self.saes),
            stores,
            self.device,
            other_activations=self.other_activations,
            other_place=self.other_place,
            k=self.k,
        )
        name = next(iter(stores.values())).description["model"]
        model = load_language_model(self.model or name, device=self.device)
        judged = []
        for place, loaded in saes.items():
            store = stores.pop(place)  # the rows that it keeps in memory go with it
            judged.append(self._judged(place, store, loaded, model))
        print(table([row for here in judged for row in here.shown(table_row)]))
        for folder in (folder for here in judged for folder, of in here.collapse.items() if of.collapsed):
            print(f"\n{folder}: {_COLLAPSED}")
        for folder in (folder for of in saes.values() for folder, (_, fields) in of.items() if "finetuned" in fields):
            print(f"\n{folder}: {_FINETUNED}")
        rows = [row for here in judged for row in here.rows]
        first = rows[0]
        print(f"\n{conventions(first.positions, first.baseline, first.resample)}")
        print(
            f"Dead: fire on none of {_span([row.seen_tokens for row in rows])} tokens; dense: on more than "
            f"{DENSE_SHARE:.0%} of {_span([row.tokens for row in rows])} held-out tokens. "
            "Eff. degree: mean of 1 / sum w^4 over unit columns, weighted by the "
            "energy that they carry (1: one-hot). On largest: share of active features whose main row is one of the "
            "token's k largest coordinates. Cos to null: of its residual with the coordinate null's."
        )
        scores = [
            _with_place(_score_row(name, summary), here.where)
            for here in judged
            for name, summary in here.scored.items()
        ]
        if scores:
            print(f"\n{table(scores)}\n\n{_SCORES}")
        if self.out is not None:
            written = []
            for here in judged:
                for row in here.rows:
                    own = asdict(here.collapse[row.name]) if row.name in here.collapse else None
                    features = {"features": here.scored[row.name]} if row.name in here.scored else {}
                    written.append(here.where | fields_of(row) | {"collapse": own} | features)
            write_json(self.out, written)

    def _judged(
        self, place: str, store: "ActivationStore", saes: "dict[str, Loaded]", model: "LanguageModel"
    ) -> "_Judged":
        """Everything that is measured at one place: SAEs and nulls."""
        from sae_bridge.evaluation import active_features, collapse, evaluation_rows, mean_activation

        ks = {folder: active_features(sae, store) for folder, (sae, _) in saes.items()}
        nulls = {null.label: null for null in self._nulls(store, [(sae, ks[name]) for name, (sae, _) in saes.items()])}
        beside = {label: null.build().to(self.device) for label, null in nulls.items()}
        every = {**{folder: sae for folder, (sae, _) in saes.items()}, **beside}
        rows = evaluation_rows(
            every,
            model,
            store,
            positions=self.positions,
            baseline=self.baseline,
            resample=self.resample,
            training_tokens=self.training_tokens,
        )
        rows = [
            replace(row, architecture="null", decoder_values=nulls[row.name].learned) if row.name in nulls else row
            for row in rows
        ]
        mean = mean_activation(store, "train")
        found = {
            folder: collapse(sae, store, mean=mean, k=ks[folder])
            for folder, (sae, _) in saes.items()
            if ks[folder] <= store.m
        }
        where = {} if place == "." else {key: store.description[key] for key in ("layer", "hook")}
        return _Judged(where, rows, found, self._scored(every, store))

    def _scored(self, saes: "dict[str, AnySAE]", store: "ActivationStore") -> "dict[str, dict[str, Any]]":
        """Scores of features, by SAE; codes without features have none."""
        from sae_bridge.features import feature_scores

        if not self.features:
            return {}
        found = {name: feature_scores(sae, store, contexts=self.contexts).summary() for name, sae in saes.items()}
        return {name: summary for name, summary in found.items() if summary["units"]}

    def _nulls(self, store: "ActivationStore", saes: "list[tuple[AnySAE, int]]") -> "list[Null]":
        """The nulls of every k that an SAE has, beside which it stands; untrained ones of their sizes."""
        from sae_bridge.evaluation import NULL_KINDS, Nulls

        nulls, found = Nulls(store), []
        kinds = {"all": NULL_KINDS, "coordinates": NULL_KINDS[:1], "none": ()}[self.nulls]
        for k in sorted({k for _, k in saes}):
            of_k = {(sae.n, sae.weight.shape): _columns(sae) for sae, own in saes if own == k}
            found += nulls.at(k, kinds, list(of_k.values()))
        return found


@dataclass(frozen=True)
class _Judged:
    """What was measured at one place; ``where`` is its layer and hook if there are several places."""

    where: dict[str, Any]
    rows: "list[Measurement]"
    collapse: "dict[str, Collapse]"
    scored: "dict[str, dict[str, Any]]"

    def shown(self, table_row: "Callable[[Measurement], dict[str, Any]]") -> list[dict[str, Any]]:
        """Rows of the table."""
        return [_with_place({**table_row(row), **_shown(self.collapse.get(row.name))}, self.where) for row in self.rows]


def _with_place(row: dict[str, Any], where: dict[str, Any]) -> dict[str, Any]:
    """A row of a table with its place after the name."""
    return {"SAE": row["SAE"], **where, **row}


def _span(counts: list[int]) -> str:
    """Numbers of tokens, which are each place's own."""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _columns(sae: "AnySAE") -> "Columns":
    """What columns its untrained null has: as many, on a random mask, as its own supports may be learned."""
    from expander_theory.masks import uniform_mask

    own, dense = getattr(sae, "mask", None), getattr(sae, "dense", None)
    if own is None:
        return sae.n
    mask = uniform_mask(own.m, own.n, own.d, seed=0)
    return mask if dense is None else (len(dense), mask)


_COLLAPSED = (
    "its decoder has collapsed to coordinates: where it is used, its columns are one-hot, on the token's largest "
    "coordinates, so that it does what the coordinate null does (compare their FVU and CE). More steps do not help; a "
    "pursuit as the encoder does (`expander sae train --encoder omp`)."
)


_FINETUNED = (
    "it was finetuned on the language model's output, beside SAEs that saw the reconstruction error alone; compare it "
    "with the SAE that it started from."
)


_SCORES = (
    "Units: features that fire at least ten times in held-out text; one whose codes have signs counts as two. Token, "
    "window: AUC with which the current token, or it and the four before, predict on held-out text that a unit fires, "
    "median and quartiles; a unit with a token AUC of .95 or more is a token. Entropy: of the tokens on which it "
    "fires, bits. Identified: its firings in one half of the documents are more like those in the other half, token "
    "by token, than like any other unit's."
)


def _score_row(name: str, summary: "dict[str, Any]") -> "dict[str, Any]":
    """The summary of an SAE's scores as a row of a table."""
    return {
        "SAE": name,
        "units": summary["units"],
        "token AUC": _quartiles(summary["token_auc"]),
        "window AUC": _quartiles(summary["window_auc"]),
        "are a token": f"{summary['tokens']:.1%}",
        "entropy (bits)": _quartiles(summary["entropy"]),
        "identified": None if summary["identified"] is None else f"{summary['identified']:.1%}",
    }


def _quartiles(values: "list[float]") -> str:
    low, median, high = values
    return f"{median:.3g} [{low:.3g}, {high:.3g}]"


def _shown(measured: "Collapse | None") -> dict[str, float | None]:
    """The collapse diagnostic as columns of the table."""
    return {
        "eff. degree": measured and measured.effective_degree,
        "on largest": measured and measured.on_largest_coordinates,
        "cos to null": measured and measured.residual_cosine,
    }
