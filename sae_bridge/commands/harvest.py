"""``expander sae harvest``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Harvest:
    """Run a language model over text and store its residual-stream activations.

    A second run resumes where it stopped.
    """

    out: tyro.conf.Positional[Path]
    """Folder for the activations; one that holds another harvest is refused."""
    model: str = "default"
    """"default" (SmolLM2-135M, see `expander fetch`), a folder that transformers saved, a .gguf file, or a name
    on the hub."""
    text: tuple[str, ...] = ("enwik8",)
    """"enwik8" (see `expander fetch`), or .txt files (one document each), .jsonl files (one document a line,
    field "text"), folders of both, or hf:NAME[:SPLIT[:FIELD]] for a data set of the package `datasets` (split
    "train", or a slice such as "train[:10000]"; field "text"). One document in ten is held out."""
    layer: int | None = None
    """Decoder block; default: the one at half depth."""
    hook: Literal["resid_pre", "resid_post"] = "resid_post"
    """Residual stream before or after the block."""
    context: int = 128
    """Tokens per context."""
    tokens: int = 100_000
    """Training tokens, rounded up to whole contexts."""
    held_out_tokens: int = 8192
    """Held-out tokens, rounded up to whole contexts."""
    batch: int = 8
    """Contexts per forward pass."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the activations on disk; "bfloat16" halves the space and rounds to 8 bits of precision."""
    bos: bool = False
    """Put the tokenizer's BOS token in front of every context; default: only if the tokenizer does so by itself."""
    no_bos: bool = False
    """Put no BOS token in front of contexts, whatever the tokenizer does by itself."""
    keep_first: bool = False
    """Let the first position of every context count in training and metrics."""
    keep_special: bool = False
    """Let the tokenizer's special tokens count in training and metrics."""
    outlier_ratio: float | None = 6.0
    """Tokens whose norm exceeds this many medians do not count; "None": no such limit."""
    device: str = "cpu"
    """Torch device of the model."""

    def run(self) -> None:
        from expander_theory.base import require
        from sae_bridge.activations import Harvest as What, TextSource, TokenPolicy, harvest
        from sae_bridge.models import load_language_model

        for name in ("tokens", "held_out_tokens"):
            require(getattr(self, name) >= 1, name.replace("_", "-"), getattr(self, name), "must be at least 1")
        require(self.context >= 3, "context", self.context, "must be at least 3 tokens")
        require(not (self.bos and self.no_bos), "bos", True, "contradicts --no-bos")
        what = What(
            layer=self.layer,
            hook=self.hook,
            context=self.context,
            train_contexts=-(-self.tokens // self.context),
            held_out_contexts=-(-self.held_out_tokens // self.context),
            batch=self.batch,
            dtype=self.dtype,
            policy=TokenPolicy(
                bos=True if self.bos else False if self.no_bos else None,
                drop_first=not self.keep_first,
                drop_special=not self.keep_special,
                outlier_ratio=self.outlier_ratio,
            ),
        )
        text = TextSource(self.text)
        model = load_language_model(self.model, device=self.device)
        store = harvest(model, text, what, self.out)
        about = store.description
        print(
            f"{store.folder}: {about['contexts']['train']} training and {about['contexts']['held_out']} held-out "
            f"contexts of {about['context']} tokens, {about['hook']} of layer {about['layer']}, m = {about['m']}, "
            f"{about['dtype']}"
        )
