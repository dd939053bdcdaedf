"""``expander sae steer``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from sae_bridge.commands.sources.harvest_options import Hook


@dataclass(frozen=True)
class Steer:
    """Add a feature to the activations where its SAE was trained, or remove it.

    Shown are what changes in the next token, and sampled text.

    The change acts on every position but the first. Text is sampled twice with the same draws, without and with it.
    """

    sae: tyro.conf.Positional[Path]
    """Folder written by `expander sae train`, SAELens or sparsify."""
    feature: int
    """Which feature; `expander sae features` shows what they are."""
    add: float | None = None
    """So many units of its activation are added (a page shows the usual ones); negative ones too."""
    remove: bool = False
    """Take away what the SAE finds of it."""
    prompt: str = "I think that the most important thing is"
    """Text to go on from."""
    tokens: int = 40
    """Tokens of a sampled text."""
    samples: int = 2
    """Sampled texts."""
    temperature: float = 1.0
    """Of sampling; 0 takes the most likely token."""
    show: int = 8
    """Tokens whose probability grows and falls most."""
    seed: int = 0
    """Of sampling."""
    model: str | None = None
    """The language model; default: the one that the SAE says."""
    layer: int | None = None
    """For SAEs that do not say it."""
    hook: Hook | None = None
    """For SAEs that do not say it."""
    k: int | None = None
    """For imported SAEs with thresholds, which do not say it."""
    out: Path | None = None
    """Also write everything to this JSON file."""
    force: bool = False
    """Overwrite an existing file."""
    device: str = "cpu"
    """Torch device of the model and the SAE."""

    def run(self) -> None:
        import torch

        from expander_theory.base import require
        from expander_theory.results import require_new, table, write_json
        from sae_bridge.features import Spelling, marked
        from sae_bridge.interop import load_any
        from sae_bridge.models import checked_device, load_language_model
        from sae_bridge.steering import Place, added, next_tokens, removed, sampled

        require((self.add is None) == self.remove, "add", self.add, "give either --add or --remove")
        if self.out is not None:
            require_new(self.out, self.force)
        sae, fields = load_any(self.sae, k=self.k)
        sae = sae.to(checked_device(self.device))
        layer, hook = self._place(fields)
        source = self.model or fields.get("language_model")
        require(source is not None, "model", None, f"{self.sae} does not say its language model: name it")
        model = load_language_model(str(source), device=self.device)
        width = model.width(layer, hook)
        require(sae.m == width, "model", model.name, f"has width {width} at {hook}, the SAE m = {sae.m}")
        model.require_steerable(layer, hook)
        ids = model.tokenizer(self.prompt, verbose=False)["input_ids"]
        require(len(ids) >= 2, "prompt", repr(self.prompt), "must have at least two tokens: the first is not changed")
        place, prompt = Place(model, layer, hook), torch.tensor(ids)
        change = removed(sae, self.feature) if self.add is None else added(sae, self.feature, self.add)
        found, spelling = next_tokens(place, prompt, change), Spelling(model.tokenizer)
        up, down = found.moved(self.show)
        rows = [
            {
                "token": marked(spelling.text(token)),
                "before": float(found.before[token]),
                "after": float(found.after[token]),
            }
            for token in [*up, *down]
        ]
        print(table(rows))
        print(f"\nNext token after {self.prompt!r}: KL divergence {found.kl:.4g} nats.")
        texts: list[dict[str, Any]] = []
        for number in range(self.samples):
            how = {"temperature": self.temperature, "seed": self.seed + number}
            pair = [sampled(place, prompt, one, self.tokens, **how).tolist() for one in (None, change)]
            texts.append(
                {name: model.tokenizer.decode(one) for name, one in zip(("without", "with"), pair, strict=True)}
            )
            print(f"\nwithout: {texts[-1]['without']!r}\nwith:    {texts[-1]['with']!r}")
        if self.out is not None:
            about = {"sae": str(self.sae), "feature": self.feature, "add": self.add, "prompt": self.prompt}
            write_json(self.out, {**about, "kl": found.kl, "next_tokens": rows, "texts": texts})

    def _place(self, fields: dict[str, Any]) -> tuple[int, Any]:
        """Layer and hook, by the options or by what the SAE says of its training."""
        from expander_theory.base import require

        layer = fields.get("layer") if self.layer is None else self.layer
        hook = self.hook or fields.get("hook")
        require(layer is not None, "layer", None, f"{self.sae} does not say its layer: name it")
        require(hook is not None, "hook", None, f"{self.sae} does not say its hook: name it")
        return int(layer), hook  # type: ignore[arg-type]
