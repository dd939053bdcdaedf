"""``expander theorems check``."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from expander_theory.base import InvalidArgument, require
from expander_theory.results import table


@dataclass(frozen=True)
class Check:
    """Evaluate the hypotheses of statements on a dictionary at one k.

    Shown are margin, status, and which bound was used.
    """

    dictionary: tyro.conf.Positional[Path]
    """A dictionary saved by `expander build --values ...` or `expander sae train`."""
    id: tyro.conf.Positional[tuple[str, ...]] = ()
    """Statements (default: all whose hypotheses need neither a code nor every set of columns)."""
    k: int = 1
    """Sparsity."""
    time_limit: float = 10.0
    """Seconds for the exact expansion; what is open then is an interval, and "undecided" is no failure."""

    def run(self) -> None:
        from expander_theory.dictionaries import load_dictionary
        from expander_theory.theorems import find_statement, hypotheses, statements

        require(self.time_limit >= 0, "time-limit", self.time_limit, "must be at least 0 seconds")
        dictionary = load_dictionary(self.dictionary)
        chosen = [find_statement(id) for id in self.id] or [
            s for s in statements().values() if s.hypotheses and s.instances is None
        ]
        rows, like = [], None
        for statement in chosen:
            try:
                like, found = hypotheses(statement, dictionary, self.k, like=like, time_limit=self.time_limit)
            except InvalidArgument as error:
                if self.id:
                    raise
                rows.append({"statement": statement.id, "hypothesis": "not evaluated", "margin": "", "how": str(error)})
            else:
                for name, slack in found.items():
                    margin, how = (
                        ("", "not evaluated: an earlier one is not met") if slack is None else (slack, slack.how)
                    )
                    rows.append({"statement": statement.id, "hypothesis": name, "margin": str(margin), "how": how})
        print(table(rows))
