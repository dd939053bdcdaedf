"""The claims, and what stored results say of each: a verdict, numbers with intervals, and the scale of the runs."""

from collections.abc import Sequence
from pathlib import Path

from paper_figures.claims.base import Claim
from paper_figures.claims.beyond import BEYOND
from paper_figures.claims.theory import THEORY
from paper_figures.claims.trained import TRAINED

CLAIMS: Sequence[Claim] = (*THEORY, *TRAINED, *BEYOND)


def claims_markdown(results: Path) -> str:
    """The claims as a Markdown table: verdict, numbers, scale."""
    lines = ["| claim | verdict | numbers | scale |", "|---|---|---|---|"]
    for claim in CLAIMS:
        found = claim.finding(results)
        lines.append(f"| {claim.text} | {found.verdict} | {'; '.join(found.numbers)} | {found.scale} |")
    return "\n".join(lines) + "\n"
