"""The command that sets SAEs against codes that have learned nothing, at many models and layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sae_bridge.suites import Setting


@dataclass(frozen=True)
class Nulls:
    """Beyond the paper: where do SAEs beat codes that learned nothing?

    The coordinate null (the k largest coordinates of h less its mean, kept exactly) beside TopK SAEs of several
    degrees, the one with OMP in the loop, and a dense one. Everything resumes.
    """

    preset: str = "quick"
    """quick: SmolLM2-135M layer 14, two k, two minutes. full: its layers 4, 14, 24, Gemma-3-270M, stories15M (see
    `expander fetch`), k from 8 to 128, an hour on two cores. The paper's: pythia-70m-layer3, qwen2.5-3b-layer12, ..."""
    out: Path = Path("results")
    """Results folder, shared with the other experiments; with the preset full, a suite of SAEs for each place in
    `nulls/PLACE`."""
    place: tuple[str, ...] = ()
    """Only these places of the preset, such as smollm2-135m-layer4 (default: all)."""
    model: str | None = None
    """Another source of the model, where the preset or --place leaves one place: a folder that transformers saved, a
    name on the hub."""
    text: tuple[str, ...] = ()
    """Other text than the preset's: see `expander sae harvest`."""
    seeds: tuple[int, ...] = ()
    """Other seeds than 0, of all SAEs."""
    device: str = "cpu"
    """Torch device of everything."""

    @property
    def places(self) -> list[Setting]:
        """Those of the preset that are asked for, with what the options change."""
        from expander_theory.base import require, require_choice
        from sae_bridge.suites import places

        known = places()
        require_choice("preset", self.preset, tuple(known))
        offered = {setting.name: setting for setting in known[self.preset]}
        for name in self.place:
            require_choice("place", name, tuple(offered))
        chosen = [setting for name, setting in offered.items() if not self.place or name in self.place]
        alone = self.model is None or len(chosen) == 1
        require(alone, "model", repr(self.model), f"needs one --place of {', '.join(offered)}")
        return [setting.changed(model=self.model, text=self.text, seeds=self.seeds) for setting in chosen]

    def run(self) -> None:
        from expander_theory.plotting import draw_named
        from experiments.saes import nulls
        from sae_bridge.models import checked_device

        nulls.run(self.places, self.out, str(checked_device(self.device)))
        print(draw_named(self.out, "against_nulls"))
