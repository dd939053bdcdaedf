"""``expander reproduce``: the experiments of all claims in one folder, figures and the report. Every stage resumes."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

CLAIMS = ("frontier", "certified-mask", "controls", "sparsity", "small-dense", "better-training")
"""Experiments that compare SAEs, in the order in which they are run."""


@dataclass(frozen=True)
class Reproduce:
    """Run the experiments of all claims, then draw figures and report.

    From masks to phase diagrams, and from a language model to expander SAEs. Those of no claim are run by themselves:
    `expander experiment pursuit-recipe`, `structures`.
    """

    preset: Literal["quick", "full"] = "quick"
    """quick: 20 minutes on two cores. full: four to five hours, larger SAEs, more degrees."""
    out: Path = Path("results")
    """Results folder. The same command resumes it; one made with other settings is refused."""
    workers: int | None = None
    """Worker processes of the sweeps (default: the processors at hand). The counts do not depend on it."""

    def run(self) -> None:
        from expander_theory.base import default_workers
        from expander_theory.results import Ledger, StageRecord
        from experiments.theory.presets import PRESETS

        preset = PRESETS[self.preset]
        workers = default_workers() if self.workers is None else self.workers
        stages = list(self.stages(workers))
        begun = time.monotonic()
        with Ledger(self.out / "reproduce.jsonl", {"kind": "reproduce", **asdict(preset)}) as ledger:
            done = {record.stage for record in ledger.of(StageRecord)}
            for number, (name, work) in enumerate(stages, 1):
                print(f"[{number}/{len(stages)}] {name}", flush=True)
                start = time.monotonic()
                said = work()
                if name not in done:  # so that a second run changes no byte
                    ledger.append(StageRecord(name, round(time.monotonic() - start, 1)))
        print(f"\nDone in {(time.monotonic() - begun) / 60:.1f} min.\n\n{said}")

    def stages(self, workers: int) -> list[tuple[str, Callable[[], Any]]]:
        """Name and work of each stage; the last one returns what is printed."""
        from expander_theory.plotting import Stale, all_drawings, check_all, draw_all
        from experiments.commands import compared_saes
        from experiments.saes import amortisation, features, finetune, ground_truth, novelty, nulls, real_supports
        from experiments.theory import cost, identifiability, mask_geometry, phase_transition, synthetic_study
        from experiments.theory.presets import PRESETS
        from paper_figures.report.report import write_report, written_report
        from sae_bridge.models import RESOURCES, fetch
        from sae_bridge.suites import TRUTH_SCALES, SAESuite, places, settings

        preset, out, seed = PRESETS[self.preset], self.out, PRESETS[self.preset].seed
        suite = SAESuite(settings()[self.preset], out)
        # other models than the default one are fetched by those who accept their terms
        here = [place for place in places()[self.preset] if place.model == suite.setting.model]
        kinds = {kind.group: kind for kind in vars(compared_saes).values() if hasattr(kind, "group")}

        def compare(group: str) -> Callable[[], Any]:
            return lambda: kinds[group].compare(suite)

        noisy = synthetic_study.SCALES[self.preset]  # a third of its own preset
        noisy = replace(noisy, dictionaries=max(1, noisy.dictionaries // 3))
        theory = [
            ("masks: build and measure", lambda: mask_geometry.run(preset, out / "masks")),
            ("cost of a correlation and of OMP", lambda: cost.run(cost.SCALES[self.preset], seed, out / "cost")),
            (
                "identifiability of small dictionaries",
                lambda: identifiability.run(identifiability.SCALES[self.preset], seed, out / "identifiability"),
            ),
            ("phase transitions", lambda: phase_transition.run(preset.phase, seed, workers, out / "phase")),
            ("synthetic recovery with noise", lambda: synthetic_study.run(noisy, seed, workers, out / "synthetic")),
        ]
        practice = [
            ("default model and text: fetch", lambda: [fetch(resource) for resource in RESOURCES.values()]),
            ("activations: harvest", lambda: suite.store),
            *((f"SAEs: {group.replace('-', ' ')}", compare(group)) for group in CLAIMS),
            ("SAEs: against the null, by layer", lambda: nulls.run(here, out)),
            ("SAEs: a short finetune on the model's output", lambda: finetune.run(suite)),
            ("encoder against slower inference", lambda: amortisation.run(suite)),
            ("recovery on trained decoders", lambda: real_supports.run(suite)),
            ("features and their novelty", lambda: novelty.run(suite)),
            ("features: scores and probes", lambda: features.run(suite)),
            ("known features", lambda: ground_truth.run(TRUTH_SCALES[self.preset], out / "truth")),
        ]

        def show() -> str:
            try:
                drawn = check_all(out, out / "figures")
            except Stale:
                both = all_drawings(out)
                return f"{draw_all(out, drawn=both)}\n\n{write_report(out, out / 'report', both)}"
            return f"{drawn}\n\n{written_report(out, out / 'report') or write_report(out, out / 'report')}"

        return [*theory, *practice, ("figures, tables and report", show)]
