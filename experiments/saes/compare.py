"""``expander sae compare``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Compare:
    """Dense and expander SAEs on one layer of a language model, each at its own learning rate, in one table.

    Harvests, sweeps rates, trains all SAEs on one stream, and evaluates them by their encoder and by OMP. Everything
    resumes; a second run only prints.
    """

    preset: str = "quick"
    """quick: the embedded model, d in {dense, 64, 32, 16, 8, 4}, minutes. full: 2 M tokens, three seeds, hours. gemma:
    a model of another family (`expander fetch gemma`). The paper's: pythia-70m-layer3, pythia-160m-layer4 and 8,
    qwen2.5-3b-layer12 and 24, llama-3.2-1b-layer6 and 12, with its recipe and its figures beside ours."""
    out: Path = Path("results/sae-comparison")
    """Results folder."""
    model: str | None = None
    """Another source for the preset's model: a folder that transformers saved, a .gguf file, a name on the hub."""
    text: tuple[str, ...] = ()
    """Other text than the preset's: see `expander sae harvest`."""
    d: tuple[int, ...] = ()
    """Other degrees than the preset's; the dense SAE is always there."""
    seeds: tuple[int, ...] = ()
    """Other seeds than the preset's; more seeds add to what is there."""
    steps: int | None = None
    """Other number of steps than the preset's."""
    device: str = "cpu"
    """Torch device of everything."""

    def run(self) -> None:
        from expander_theory.base import require_choice
        from expander_theory.results import table
        from experiments.saes import sae_comparison as stages
        from experiments.saes.sae_presets import comparisons
        from sae_bridge.models import checked_device

        known = comparisons()
        require_choice("preset", self.preset, tuple(known))
        plan = known[self.preset]
        changed = {
            "model": self.model,
            "text": self.text,
            "degrees": (None, *self.d) if self.d else None,
            "seeds": self.seeds,
            "recipe": None if self.steps is None else replace(plan.recipe, steps=self.steps),
        }
        plan = replace(plan, **{name: value for name, value in changed.items() if value})
        device = str(checked_device(self.device))
        model, store = stages.activations(plan, self.out / "activations", device)
        rates = stages.rates(plan, store, self.out / "rates", device)
        stages.train_all(plan, store, rates, self.out / "sae", device)
        records = stages.evaluate_all(plan, model, store, self.out / "sae", self.out / "frontier", device)
        print(table([stages.row_of(record) for record in records]))
        print(f"\n{stages.note(records)}")
