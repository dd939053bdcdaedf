"""What the experiments on SAEs share: options, the setting that they choose, and the suite."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from expander_theory.results import EvaluationRecord
    from sae_bridge.suites import Member, SAESuite, Setting


@dataclass(frozen=True)
class OnSAEs:
    """Options of an experiment on trained SAEs. Everything resumes; experiments in one folder share their SAEs."""

    preset: str = "quick"
    """quick: SmolLM2-135M, n = 1152, minutes on two cores. full: n = 2304, d from 2 to 128, an hour or two. The
    paper's: pythia-70m-layer3, pythia-160m-layer4 and 8, qwen2.5-3b-layer12 and 24, llama-3.2-1b-layer6 and 12."""
    out: Path = Path("results")
    """Results folder: SAEs in `sae`, evaluations in `saes/ledger.jsonl`."""
    model: str | None = None
    """Another source for the preset's model: gemma, stories (see `expander fetch`), a folder that transformers saved, a
    .gguf file, a name on the hub."""
    text: tuple[str, ...] = ()
    """Other text than the preset's: see `expander sae harvest`."""
    layer: int | None = None
    """Another layer than the preset's (for another layer or model choose another folder)."""
    seeds: tuple[int, ...] = ()
    """Other seeds than the preset's, for all that the experiment trains."""
    device: str = "cpu"
    """Torch device of everything."""

    @cached_property
    def setting(self) -> Setting:
        """The preset, with what the options change."""
        from expander_theory.base import require_choice
        from sae_bridge.suites import settings

        known = settings()
        require_choice("preset", self.preset, tuple(known))
        return known[self.preset].changed(model=self.model, text=self.text, layer=self.layer, seeds=self.seeds)

    @cached_property
    def suite(self) -> SAESuite:
        """The suite in which the experiment's SAEs are made."""
        from sae_bridge.models import checked_device
        from sae_bridge.suites import SAESuite

        return SAESuite(self.setting, self.out, str(checked_device(self.device)))


class Compares(OnSAEs):
    """An experiment that trains SAEs and sets their evaluations side by side."""

    group: ClassVar[str]
    figures: ClassVar[tuple[str, ...]]

    @staticmethod
    def members(suite: SAESuite) -> list[Member]:
        """Variants and seeds, in the order of figures."""
        raise NotImplementedError

    @classmethod
    def compare(cls, suite: SAESuite) -> list[EvaluationRecord]:
        """Train and evaluate them, beside their nulls."""
        return suite.compare(cls.group, cls.members(suite))

    def run(self) -> None:
        from expander_theory.plotting import draw_named

        self.compare(self.suite)
        print(draw_named(self.out, *self.figures))
