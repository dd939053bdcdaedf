"""``expander reproduce``: the whole road, from masks to figures. Every stage resumes."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Reproduce:
    """Run the whole road, masks to phase diagram and language model to expander SAE, and draw the figures."""

    preset: Literal["quick", "full"] = "quick"
    """quick: minutes on two cores. full: several hours, three seeds, more degrees and tokens."""
    out: Path = Path("results")
    """Results folder. The same command resumes it; one made with other settings is refused."""
    workers: int | None = None
    """Worker processes of the sweep (default: the processors at hand). The counts do not depend on it."""

    def run(self) -> None:
        from expander_theory.executors import default_workers
        from expander_theory.ledger import Ledger
        from experiments import mask_geometry, meeting_point, phase_transition
        from experiments import sae_comparison as saes
        from experiments.presets import PRESETS
        from paper_figures.command import draw_all
        from sae_bridge.resources import RESOURCES, fetch

        preset, out = PRESETS[self.preset], self.out
        workers = default_workers() if self.workers is None else self.workers
        state: dict[str, Any] = {}

        def harvest() -> None:
            state["model"], state["store"] = saes.activations(preset.saes, out / "activations")

        def train() -> None:
            found = saes.rates(preset.saes, state["store"], out / "rates")
            saes.train_all(preset.saes, state["store"], found, out / "sae")

        def evaluate() -> None:
            saes.evaluate_all(preset.saes, state["model"], state["store"], out / "sae", out / "frontier")

        stages: list[tuple[str, Callable[[], Any]]] = [
            ("masks: build and measure", lambda: mask_geometry.run(preset, out / "masks")),
            (
                "phase transition: expander beside dense Gaussian",
                lambda: phase_transition.run(preset.phase, preset.seed, workers, out / "phase"),
            ),
            ("default model and text: fetch", lambda: [fetch(resource) for resource in RESOURCES.values()]),
            ("activations: harvest", harvest),
            ("SAEs: sweep the learning rates, train", train),
            ("SAEs: evaluate, by their encoders and by OMP", evaluate),
            ("trained decoders: theory and recovery", lambda: meeting_point.run(preset, out / "sae", out / "meeting")),
            ("figures and tables", lambda: state.update(drawn=draw_all(out))),
        ]
        identity = {"kind": "reproduce", **asdict(preset)}
        begun = time.monotonic()
        with Ledger(out / "reproduce.jsonl", identity) as ledger:
            for number, (name, work) in enumerate(stages, 1):
                print(f"[{number}/{len(stages)}] {name}", flush=True)
                start = time.monotonic()
                work()
                ledger.append({"stage": name, "seconds": round(time.monotonic() - start, 1)})
        print(f"\nDone in {(time.monotonic() - begun) / 60:.1f} min.\n\n{state['drawn']}")
