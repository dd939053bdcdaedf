"""``expander sae suite``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from sae_bridge.commands.sources.harvest_options import HarvestOptions

if TYPE_CHECKING:
    from sae_bridge.suites import LayerRow


@dataclass(frozen=True)
class Suite:
    """Make small SAEs for every layer of a language model, in one folder.

    Activations of all layers are harvested in one pass, an SAE is trained on each, packed, and measured beside itself
    before packing and the coordinate null. A second run resumes where it stopped; --work may be deleted afterwards.
    """

    out: tyro.conf.Positional[Path]
    """Folder for the packed files, table.json and README.md; nothing else is written there."""
    work: Path | None = None
    """Folder for activations and SAEs in training; default: OUT with "-work" at its end."""
    model: str = "default"
    """"default" (SmolLM2-135M, see `expander fetch`), a folder that transformers saved, a .gguf file, or a name
    on the hub."""
    harvest: tyro.conf.OmitArgPrefixes[HarvestOptions] = field(
        default_factory=lambda: HarvestOptions(layer="all", dtype="bfloat16")
    )
    """Which layers, hook and text."""
    held_out_tokens: int = 8192
    """Held-out tokens, rounded up to whole contexts."""
    forward_batch: int = 8
    """Contexts per forward pass."""
    d: int | None = 8
    """Nonzeros per decoder column; "None": dense."""
    n: int = 2304
    """Features (columns)."""
    k: int = 32
    """Active features per token."""
    encoder: Literal["tied", "omp", "omp_nonnegative"] = "omp"
    """As in `expander sae train`."""
    supports: Literal["fixed", "momentum"] = "momentum"
    """Whether masks are learned."""
    steps: int = 400
    """Optimiser steps."""
    batch: int = 1024
    """Tokens per step."""
    learning_rate: float = 16e-3
    """Peak rate of Adam."""
    seed: int = 0
    """Of masks and initial weights."""
    values: Literal["float32", "bfloat16", "int8", "int4", "int3", "int2"] = "bfloat16"
    """Of the packed files, as in `expander sae pack`."""
    device: str = "cpu"
    """Torch device."""

    def run(self) -> None:
        from expander_theory.base import require
        from sae_bridge.models import checked_device
        from sae_bridge.packing import Packing
        from sae_bridge.suites import EveryLayer, every_layer, suite_page
        from sae_bridge.training import Training

        require(len(self.harvest.hook) == 1, "hook", self.harvest.hook, "must be one for a suite of layers")
        sparse = self.d is not None
        what = EveryLayer(
            model=self.model,
            text=self.harvest.text,
            layers=() if self.harvest.layer == "all" else self.harvest.layer,
            hook=self.harvest.hook[0],
            harvest=self.harvest.what(batch=self.forward_batch, held_out_tokens=self.held_out_tokens),
            training=Training(
                d=self.d,
                n=self.n,
                k=self.k,
                encoder=self.encoder,
                supports=self.supports if sparse else "fixed",
                steps=self.steps,
                learning_rate=self.learning_rate,
                seed=self.seed,
            ),
            batch=self.batch,
            packing=Packing(self.values),
        )
        device = str(checked_device(self.device))
        work = self.work or self.out.with_name(f"{self.out.name}-work")
        rows = every_layer(what, self.out, work, device=device, done=_show)
        print(f"\n{suite_page(rows)}")


def _show(row: "LayerRow") -> None:
    print(f"{row.place}: {row.bytes:,} bytes, FVU {row.packed['fvu']:.3f}, null {row.null['fvu']:.3f}", flush=True)
