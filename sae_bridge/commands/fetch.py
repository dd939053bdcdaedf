"""``expander fetch``."""

from dataclasses import dataclass
from typing import Literal

import tyro

from sae_bridge.resources import RESOURCES, fetch


@dataclass(frozen=True)
class Fetch:
    """Download the default language model and text into the user's cache (130 MB, pinned and hash-checked)."""

    what: tyro.conf.Positional[Literal["all", "model", "text"]] = "all"
    """What to fetch. What is there already is not fetched again."""

    def run(self) -> None:
        for name, resource in RESOURCES.items():
            if self.what in ("all", name):
                print(f"{name}: {resource.about}", flush=True)
                print(f"  {fetch(resource)}")
