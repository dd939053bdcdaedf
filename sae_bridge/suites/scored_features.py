"""The features of a setting's SAEs and nulls: scores without a judge, and probes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from expander_theory.base import progress_bar
from expander_theory.masks import uniform_mask
from expander_theory.results import FeaturesRecord, ProbePoint, RawProbesRecord
from sae_bridge.evaluation import AnySAE, Null, Nulls
from sae_bridge.features import feature_scores
from sae_bridge.models import BBC, fetch
from sae_bridge.probing import LabelledTexts, pooled, probes, read_labelled
from sae_bridge.sae import storage
from sae_bridge.suites.equal_inference import block, learned
from sae_bridge.suites.presets import Setting
from sae_bridge.suites.suite import Member, SAESuite, file_name
from sae_bridge.suites.variants import architecture, by_pursuit

if TYPE_CHECKING:
    from sae_bridge.sae import SparseAutoencoder

_KINDS = ("coordinates", "principal", "untrained")


def feature_members(setting: Setting) -> list[Member]:
    """The SAEs whose features are compared: the plain one, learned supports and blocks by OMP, dense ones."""
    base, sizes = setting.recipe, setting.equal_inference
    plain, dense = architecture(base, setting.d), architecture(base, None)
    pursued = [learned(plain), *(block(base, r, d) for r, d in sizes.blocks)]
    variants = [plain, dense, *map(by_pursuit, pursued)]
    found = [(variant, seed) for variant in variants for seed in sizes.seeds]
    return found + [(by_pursuit(dense), sizes.seeds[0])] * setting.features.large


def feature_nulls(suite: SAESuite) -> list[Null]:
    """Codes without learning at the setting's k: their features are features too."""
    setting = suite.setting
    mask = uniform_mask(suite.store.m, setting.recipe.n, setting.d, seed=0)
    return Nulls(suite.store).at(setting.recipe.k, _KINDS, (mask,))


def feature_records(
    suite: SAESuite, members: Iterable[Member], nulls: Iterable[Null]
) -> Iterator[FeaturesRecord | RawProbesRecord]:
    """Score and probe the features of trained SAEs, then of the nulls; before them probes on what needs no SAE.

    One record after another, so that a run that is stopped keeps what it has.
    """
    codes: list[tuple[dict[str, Any], AnySAE]] = []
    for variant, seed in members:
        sae = suite.sae(variant, seed)
        about = {"name": file_name(variant, seed), "variant": variant.name, "label": variant.label, "seed": seed}
        codes.append(({**about, "role": "trained", **_storage(sae)}, sae))
    for null in nulls:
        about = {"name": null.name, "variant": null.name, "label": null.label, "seed": 0, "role": "null"}
        codes.append(({**about, "decoder_values": null.learned, "bytes_packed": 0}, null.build().to(suite.device)))
    raw, probed = _probed(suite, {about["name"]: sae for about, sae in codes})
    yield from raw
    for about, sae in progress_bar(codes, unit="SAE", desc="features: scores", show=bool(codes)):
        sizes = suite.setting.features
        scores = feature_scores(sae, suite.store, contexts=sizes.contexts, least=sizes.least, progress=False).summary()
        quartiles: dict[str, Any] = {
            name: scores[name] and tuple(scores[name]) for name in ("token_auc", "window_auc", "entropy")
        }
        yield FeaturesRecord(
            **about,
            encoder=sae.encoding,
            architecture=getattr(sae, "architecture", "dense"),
            n=sae.n,
            d=sae.weight.shape[1],
            k=sae.k,
            units=scores["units"],
            tokens=scores["tokens"],
            identified=scores["identified"],
            **quartiles,
            probes=probed.get(about["name"], ()),
            activations_sha256=suite.store.sha256,
        )


def _storage(sae: SparseAutoencoder) -> dict[str, int]:
    found = storage(sae)
    return {name: found[name] for name in ("decoder_values", "bytes_packed")}


def _texts(setting: Setting) -> LabelledTexts | None:
    sizes = setting.features
    if not sizes.texts:
        return None
    if sizes.texts == "bbc":
        fetch(BBC)
    return read_labelled(sizes.texts).first(sizes.documents)


def _probed(
    suite: SAESuite, saes: Mapping[str, AnySAE]
) -> tuple[list[RawProbesRecord], dict[str, tuple[ProbePoint, ...]]]:
    """Probes on coordinates and principal components, and those of each SAE."""
    texts, ks = _texts(suite.setting), suite.setting.features.ks
    if texts is None or not saes:
        return [], {}
    found, m = pooled(texts.texts, suite.model, suite.store, saes), suite.store.m
    turned = found.raw @ Nulls(suite.store).directions.numpy().T
    sets = (("coordinates", found.raw, ks), ("principal components", turned, ks), ("all coordinates", found.raw, (m,)))
    raw = [RawProbesRecord(label=label, probes=_points(label, x, texts, some)) for label, x, some in sets]
    return raw, {name: _points(name, x, texts, ks) for name, x in found.codes.items()}


def _points(name: str, x: NDArray[Any], texts: LabelledTexts, ks: Iterable[int]) -> tuple[ProbePoint, ...]:
    every = x.shape[1]
    return tuple(
        ProbePoint(k=probe.k or every, accuracy=probe.accuracy, low=probe.low, high=probe.high)
        for probe in probes(name, x, texts, [None if k == every else k for k in ks])
    )
