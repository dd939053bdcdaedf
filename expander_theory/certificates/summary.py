"""What a certificate says, in a few lines."""

from __future__ import annotations

from typing import Any


def best_claims(certificate: dict[str, Any]) -> list[str]:
    """One line a goal: the largest k, the theorems that give it, and what they state.

    Args:
        certificate: as :func:`expander_theory.certificates.certify` returns it, or read from its file.
    """
    goals: dict[str, list[dict[str, Any]]] = {}
    for claim in certificate["claims"]:
        goals.setdefault(claim["goal"], []).append(claim)
    lines = []
    for goal, claims in goals.items():
        k = max(claim["k"] for claim in claims)
        if k == 0:
            lines.append(f"{goal}: no theorem here certifies anything, not even for k = 1")
            continue
        stated: dict[str, list[str]] = {}
        for claim in claims:
            if claim["k"] == k:
                stated.setdefault(claim["states"], []).append(claim["theorem"])
        by = "; ".join(f"{', '.join(theorems)} ({states})" for states, theorems in stated.items())
        lines.append(f"{goal}: k = {k} by {by}")
    return lines
