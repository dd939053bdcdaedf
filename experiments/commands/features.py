"""Commands of the experiments on what features are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.commands.on_saes import OnSAEs


@dataclass(frozen=True)
class GroundTruth:
    """Beyond the paper: does pursuit find true features? On activations whose features are known.

    TopK, BatchTopK and OMP, on dense decoders, learned supports and dense columns beside them; features that are
    dense, sparse or both, more or fewer, correlated, in a hierarchy, with noise. Beside the known directions with each
    encoder, codes that learned nothing, and what is proved of the features' own dictionary.
    """

    preset: Literal["quick", "full"] = "quick"
    """quick: m = 32, 96 features, two conditions, a minute. full: m = 64, 256 features, 17 conditions, an hour on two
    cores."""
    out: Path = Path("results")
    """Results folder; the ledger is `truth/ledger.jsonl`, the SAEs are in `truth/sae`."""
    device: str = "cpu"
    """Torch device of the training."""

    def run(self) -> None:
        from expander_theory.plotting import draw_named
        from experiments.saes import ground_truth
        from sae_bridge.models import checked_device
        from sae_bridge.suites import TRUTH_SCALES

        ground_truth.run(TRUTH_SCALES[self.preset], self.out / "truth", str(checked_device(self.device)))
        print(draw_named(self.out, "ground_truth"))


@dataclass(frozen=True)
class Features(OnSAEs):
    """Beyond the paper: are compressed SAEs' features as good? Without a judge, or with one.

    How well a token and a window of tokens predict firing, whether halves of the text agree, k-sparse probes of
    labelled news, how alike two seeds are; by architecture, beside coordinates and other codes without learning.
    """

    judge: str | None = None
    """Also let a judge explain and test features of the first seed: see `expander sae judge`."""
    judge_model: str | None = None
    """The name that an endpoint is asked for."""
    judged: int = 25
    """Features of each SAE before the judge."""

    def run(self) -> None:
        from expander_theory.plotting import draw_named
        from experiments.saes import features

        features.run(self.suite)
        if self.judge is not None:
            features.judge(self.suite, self.judge, self.judge_model, self.judged)
        print(draw_named(self.out, "feature_scores"))
