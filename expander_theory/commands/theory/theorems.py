"""``expander theorems`` and ``expander theorems show``."""

from dataclasses import dataclass
from typing import Any

import tyro

from expander_theory.results import table


@dataclass(frozen=True)
class Theorems:
    """List the statements of THEORY.md.

    Each with its hypotheses, what checking costs, and the number of its wrong variants.
    """

    def run(self) -> None:
        from expander_theory.theorems import mutants, statements

        rows: list[dict[str, Any]] = [
            {
                "id": s.id,
                "statement": _short(s.text),
                "hypotheses": "; ".join(s.hypotheses) or "none",
                "cost (hypotheses / conclusion)": s.cost,
                "mutants": len(s.mutants),
            }
            for s in statements().values()
        ]
        print(table(rows))
        print(f"\n{len(rows)} statements, {len(mutants())} mutants. `expander theorems show ID` prints one in full.")


@dataclass(frozen=True)
class Show:
    """Print a statement in full.

    Text, LaTeX, source of the proof, hypotheses, how it is checked, its wrong variants.
    """

    id: tyro.conf.Positional[str]
    """Id of THEORY.md, such as IDN-1, or of a mutant, such as IDN-1/eps_k."""

    def run(self) -> None:
        from expander_theory.theorems import find_statement

        s = find_statement(self.id)
        needs = {"unit": "unit-l2 columns", "full": "a full mask (no zero entry on it)"}
        base = s.id.split("/")[0]
        lines = {
            "statement": s.text + (" (a mutant: false, kept to be refuted)" if s.wrong else ""),
            "LaTeX": s.latex,
            "proof": f"THEORY.md, {base}",
            "source": s.source.replace(f"THEORY.md {base}", "").strip("; ") or "this catalogue",
            "needs": ", ".join(needs[need] for need in s.needs) or "nothing of the dictionary",
            "hypotheses": "; ".join(s.hypotheses) or "none",
            "cost": f"{s.cost} (hypotheses / conclusion)",
            "checked by": s.check,
            "hypotheses met": f"by at least {s.floor:.0%} of an attack's examples, or the attack counts as empty",
        }
        print(s.id)
        for name, text in lines.items():
            if text:
                print(f"  {name}: {text}")
        for mutant in s.mutants:
            print(f"  mutant {mutant.id}: {mutant.text}")


def _short(text: str, width: int = 72) -> str:
    return text if len(text) <= width else text[: width - 3].rsplit(" ", 1)[0] + " ..."
