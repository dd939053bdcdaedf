"""The claims, and what stored results say of each: a verdict, numbers with intervals, and the scale of the runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from paper_figures.claims.against_nulls import NULLS
from paper_figures.claims.base import Claim, Finding
from paper_figures.claims.beyond import BEYOND
from paper_figures.claims.features import FEATURES
from paper_figures.claims.finetuned import FINETUNED
from paper_figures.claims.theory import THEORY
from paper_figures.claims.trained import TRAINED

CLAIMS: Sequence[Claim] = (*THEORY, *TRAINED, *NULLS, *BEYOND, *FINETUNED, *FEATURES)


def findings(results: Path) -> dict[str, Finding]:
    """What a results folder says of every claim, by its name."""
    return {claim.name: claim.finding(results) for claim in CLAIMS}


def claims_markdown(found: Mapping[str, Finding]) -> str:
    """Findings as a Markdown table: verdict, numbers, scale."""
    lines = ["| claim | verdict | numbers | scale |", "|---|---|---|---|"]
    for claim in CLAIMS:
        finding = found[claim.name]
        lines.append(f"| {claim.text} | {finding.verdict} | {'; '.join(finding.numbers)} | {finding.scale} |")
    return "\n".join(lines) + "\n"
