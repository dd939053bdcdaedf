"""How to train an SAE whose codes are OMP's: one choice of the recipe changed at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sae_bridge.suites.equal_inference import learned
from sae_bridge.suites.variants import Variant, architecture, by_pursuit, changed
from sae_bridge.training import Training


def pursuit_recipe(base: Training, d: int) -> list[Variant]:
    """The recipe as it is, with learned supports of degree d, and changes of one choice each.

    Learning rate, warm-up and decay, clipping, AuxK and when it counts a feature as dead; and how supports move.
    """
    plain = by_pursuit(learned(architecture(base, d)))
    how = plain.training

    def other(name: str, label: str, **changes: Any) -> Variant:
        return changed(plain, f"{plain.name}-{name}", label, **changes)

    def rate(name: str, label: str, factor: float) -> Variant:
        return replace(other(name, label), rate_factor=factor)

    early = max(1, how.dead_after // 4)
    return [
        replace(plain, label="the recipe"),
        rate("rate-half", "half the rate", 0.5),
        rate("rate-2", "twice the rate", 2.0),
        rate("rate-4", "4 times the rate", 4.0),
        other("no-warm-up", "no warm-up", warm_up=0.0),
        other("warm-up-20", "warm-up over 20 % of the steps", warm_up=0.2),
        other("end-10", "rate falls to 10 %, not 1 %", final_rate=0.1),
        other("no-clip", "no clipping", clip=None),
        other("no-auxk", "no AuxK", revival="none"),
        other("early-auxk", f"AuxK after {early:,} tokens", dead_after=early),
        replace(by_pursuit(architecture(base, d)), label="supports stay"),
        other("gradient", "supports by one batch (RigL)", supports="gradient"),
        other("random", "supports at random (SET)", supports="random"),
        other("regrow-20", f"supports move every 20 steps, not {how.regrow_every}", regrow_every=20),
        other("share-10", f"10 % of rows move, not {how.regrow_share:.0%}", regrow_share=0.1),
    ]
