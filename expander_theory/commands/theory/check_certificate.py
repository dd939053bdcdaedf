"""``expander check-certificate``."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import tyro

from expander_theory.base import require
from expander_theory.results import table


@dataclass(frozen=True)
class CheckCertificate:
    """Verify a certificate in exact arithmetic. Every fact and claim of it is recomputed from the dictionary."""

    certificate: tyro.conf.Positional[Path]
    """The certificate, written by `expander certify`."""
    dictionary: tyro.conf.Positional[Path]
    """The dictionary that it is about: as saved by this project, .npy, or .npz of scipy.sparse."""
    codes: Path | None = None
    """The codes whose supports a sampled certificate is about, if it is about such."""
    most_candidates: int = 5_000_000_000
    """What the checker is willing to do: candidates for a set that its searches may examine together, some minutes; a
    certificate that needs more is refused as soon as that is known."""

    def run(self) -> None:
        from expander_theory.certificates import check_certificate, check_sampled_certificate, is_sampled
        from expander_theory.dictionaries import load_matrix

        dictionary = load_matrix(self.dictionary)
        if is_sampled(self.certificate):
            shares = check_sampled_certificate(self.certificate, dictionary, self.codes)
            rows = [{"goal": s.goal, "k": s.k, "certified": f"{s.certified}/{s.samples}"} for s in shares]
            shown = [row | {"share at least": float(s.share)} for row, s in zip(rows, shares, strict=True)]
            print(f"{table(shown)}\n\nthe certificate holds: every support was drawn and decided again")
            return
        require(self.codes is None, "codes", self.codes, "goes with sampled certificates")
        claims = check_certificate(self.certificate, dictionary, most_candidates=self.most_candidates)
        print(table([{"theorem": c.theorem, "goal": c.goal, "k": c.k, "slack": _shown(c.slack)} for c in claims]))
        print("\nthe certificate holds: every fact and claim was recomputed in exact arithmetic")


def _shown(slack: Fraction | None) -> str:
    """The slack, exactly if that is short."""
    from expander_theory.certificates import decimals

    if slack is None:
        return ""
    exact = str(slack)
    return exact if len(exact) <= 12 else f"about {decimals(slack)}"
