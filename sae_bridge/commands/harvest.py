"""``expander sae harvest``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Harvest:
    """Run a language model over text and store residual-stream activations; resumes where it stopped."""

    out: tyro.conf.Positional[Path]
    """Folder for the activations; one that holds another harvest is refused."""
    model: str = "default"
    """"default" (SmolLM2-135M, see `expander fetch`), a folder that transformers saved, a .gguf file, or a name
    on the hub."""
    text: tuple[str, ...] = ("enwik8",)
    """"enwik8" (see `expander fetch`), or .txt files (one document each), .jsonl files (one document a line,
    field "text"), or folders of both. One document in ten is held out."""
    layer: int | None = None
    """Decoder block; default: the one at half depth."""
    hook: Literal["resid_pre", "resid_post"] = "resid_post"
    """Residual stream before or after the block."""
    context: int = 128
    """Tokens per context; the first token of each is left out."""
    tokens: int = 100_000
    """Training tokens, rounded up to whole contexts."""
    held_out_tokens: int = 8192
    """Held-out tokens, rounded up to whole contexts."""
    batch: int = 8
    """Contexts per forward pass."""
    device: str = "cpu"
    """Torch device of the model."""

    def run(self) -> None:
        from expander_theory.errors import require
        from sae_bridge.activations import Harvest as What
        from sae_bridge.activations import harvest
        from sae_bridge.language_models import load_language_model
        from sae_bridge.text import TextSource

        for name in ("tokens", "held_out_tokens"):
            require(getattr(self, name) >= 1, name.replace("_", "-"), getattr(self, name), "must be at least 1")
        require(self.context >= 3, "context", self.context, "must be at least 3 tokens")
        what = What(
            self.layer,
            self.hook,
            self.context,
            -(-self.tokens // self.context),
            -(-self.held_out_tokens // self.context),
            self.batch,
        )
        text = TextSource(self.text)
        model = load_language_model(self.model, device=self.device)
        store = harvest(model, text, what, self.out)
        about = store.description
        print(
            f"{store.folder}: {about['contexts']['train']} training and {about['contexts']['held_out']} held-out "
            f"contexts of {about['context']} tokens, {about['hook']} of layer {about['layer']}, m = {about['m']}"
        )
