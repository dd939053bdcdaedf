"""``expander sae harvest``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from sae_bridge.commands.sources.harvest_options import HarvestOptions

if TYPE_CHECKING:
    from sae_bridge.activations import ActivationStore


@dataclass(frozen=True)
class Harvest(HarvestOptions):
    """Run a language model over text and store its activations.

    Several layers and hooks are stored from one forward pass a batch, each in a folder of its own, such as
    "layer14.resid_post" in OUT; places may be added later. A second run resumes where it stopped.
    """

    out: tyro.conf.Positional[Path]
    """Folder for the activations; one that holds another harvest is refused."""
    model: str = "default"
    """"default" (SmolLM2-135M, see `expander fetch`), a folder that transformers saved, a .gguf file, or a name
    on the hub."""
    held_out_tokens: int = 8192
    """Held-out tokens, rounded up to whole contexts."""
    batch: int = 8
    """Contexts per forward pass."""
    device: str = "cpu"
    """Torch device of the model."""

    def run(self) -> None:
        from dataclasses import replace

        from sae_bridge.activations import TextSource, harvest, harvest_places, holds_places
        from sae_bridge.models import load_language_model

        what = self.what(batch=self.batch, held_out_tokens=self.held_out_tokens)
        text = TextSource(self.text)
        model = load_language_model(self.model, device=self.device)
        places = self.places(model)
        if len(places) > 1 or holds_places(self.out):
            for store in harvest_places(model, text, what, places, self.out).values():
                print(_line(store))
        else:
            ((layer, hook),) = places
            print(_line(harvest(model, text, replace(what, layer=layer, hook=hook), self.out)))


def _line(store: "ActivationStore") -> str:
    about = store.description
    return (
        f"{store.folder}: {about['contexts']['train']} training and {about['contexts']['held_out']} held-out "
        f"contexts of {about['context']} tokens, {about['hook']} of layer {about['layer']}, m = {about['m']}, "
        f"{about['dtype']}"
    )
