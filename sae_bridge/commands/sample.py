"""``expander sae sample``."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Sample:
    """Let a language model write its own text, for `--text` of the other commands.

    A second run resumes where it stopped.

    For models whose training text is not at hand, such as stories15M, which knows nothing but small stories.
    """

    out: tyro.conf.Positional[Path]
    """Folder for the `.jsonl` files; one that holds other text is refused."""
    model: str = "default"
    """As `expander sae harvest` takes it."""
    documents: int = 1024
    """How many, rounded up to whole files of 32."""
    tokens: int = 256
    """Of a document at most; it ends before, where the model ends it."""
    temperature: float = 1.0
    """Of the next token's distribution; 1 is the model's own."""
    seed: int = 0
    """Of the draws."""
    device: str = "cpu"
    """Torch device of the model."""

    def run(self) -> None:
        from sae_bridge.models import load_language_model, sample_text

        paths = sample_text(
            load_language_model(self.model, device=self.device),
            self.out,
            documents=self.documents,
            tokens=self.tokens,
            temperature=self.temperature,
            seed=self.seed,
        )
        print(f"{self.out}: {32 * len(paths):,} documents of at most {self.tokens} tokens")
