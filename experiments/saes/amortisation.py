"""Claim: part of the gap is encoder amortisation. Codes by every method on frozen decoders, at the same k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.saes.base import OnSAEs

if TYPE_CHECKING:
    from experiments.saes.suite import SAESuite

_IN_MODEL = ("encoder", "least_squares", "mp", "omp", "omp_nonnegative")


@dataclass(frozen=True)
class Amortisation(OnSAEs):
    """Claim: part of the gap at matched parameter count is encoder amortisation.

    The frontier's decoders (one seed): FVU, relative error, overlap of supports and CE recovered for the encoder, least
    squares on its support, matching pursuit and OMP. Some degrees, over k up to the setting's own: the errors of gOMP,
    NIHT and CoSaMP too, which take seconds a thousand tokens.
    """

    def run(self) -> None:
        from expander_theory.plotting import draw_named

        run(self.suite)
        print(draw_named(self.out, "amortisation", "inference_algorithms"))


def run(suite: SAESuite) -> None:
    """Measure what the ledger does not hold yet."""
    from expander_theory.base import progress_bar
    from expander_theory.results import Ledger
    from experiments.saes.suite import file_name
    from experiments.saes.variants import architecture, sparsities
    from sae_bridge.evaluation import amortisation_gap

    setting = suite.setting
    seed = setting.control_seeds[0]
    plain = [architecture(setting.base, d) for d in setting.plan.degrees]
    ks = tuple(sorted({k for k in (*setting.ks, setting.base.k) if k <= setting.base.k}))
    over_k = sparsities(setting.base, setting.sparsity_degrees, ks)
    members = [(variant, seed) for variant in dict.fromkeys(plain + over_k)]
    suite.train(members)
    identity = {"kind": "amortisation", "setting": setting.name, "activations_sha256": suite.store.sha256}
    about = {"model": suite.store.description["model"], "m": suite.store.m, "n": setting.base.n}
    with Ledger(suite.out / "amortisation" / "ledger.jsonl", identity | about) as ledger:
        done = {record["name"] for record in ledger.records}
        todo = [member for member in members if file_name(*member) not in done]
        for variant, seed in progress_bar(todo, unit="SAE", desc="inference", show=bool(todo)):
            sae = suite.sae(variant, seed)
            model = suite.model if variant in plain else None  # those over k are compared by their errors alone
            found = amortisation_gap(
                sae,
                suite.store,
                model,
                methods=setting.methods if variant in over_k else _IN_MODEL,
                in_model=_IN_MODEL,
                positions=setting.plan.positions,
                known=suite.baselines(),
                progress=False,
            )
            common = {"name": file_name(variant, seed), "variant": variant.name, "label": variant.label, "seed": seed}
            size = {"d": sae.weight.shape[1], "k": sae.k, "dense": sae.mask is None}
            ledger.append({**common, **size, "rows": found})
