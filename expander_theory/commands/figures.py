"""``expander figures``: everything that stored results allow, with the data plotted and a manifest; never simulates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from expander_theory.base import InvalidArgument


@dataclass(frozen=True)
class Figures:
    """Draw the figures and tables that stored results allow; nothing is simulated.

    Beside each figure: the data plotted, as CSV. `manifest.json` says which ledgers, data and files belong together.
    """

    what: tyro.conf.Positional[tuple[str, ...]] = ()
    """Figures to draw (default: all that the results allow), and the results themselves, as with --results."""
    results: Path | None = None
    """Folder of `expander sweep`, of `expander reproduce` or of any experiment; or one ledger, or one JSON file that
    recover, certify or sae eval wrote (default: `results`)."""
    out: Path | None = None
    """Folder for the files (default: `figures` in the results folder)."""
    format: str = "png,pdf"
    """Of png, pdf and svg, separated by commas."""
    check: bool = False
    """Draw nothing; say which figures are stale, and why; fails if any is."""

    def run(self) -> None:
        from expander_theory.plotting import check_all, draw_all, figures_folder

        results, names = self._asked()
        out = figures_folder(results) if self.out is None else self.out
        if self.check:
            print(check_all(results, out, names))
        else:
            print(draw_all(results, out, names, tuple(self.format.split(","))))

    def _asked(self) -> tuple[Path, tuple[str, ...]]:
        """The results and the figures: a word that is no figure's name is the place of results."""
        from expander_theory.plotting import figure_sources

        known = figure_sources()
        places = [word for word in self.what if word not in known]
        for place in places:
            if not Path(place).exists():
                allowed = f"must be a folder or file of results, or one of the figures {', '.join(known)}"
                raise InvalidArgument("what", repr(place), allowed)
        if len(places) + (self.results is not None) > 1:
            given = [*places, *([f"--results {self.results}"] if self.results else [])]
            raise InvalidArgument("results", " and ".join(given), "must be one folder or file")
        results = Path(places[0]) if places else self.results or Path("results")
        return results, tuple(word for word in self.what if word in known)
