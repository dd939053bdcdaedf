"""All statements of THEORY.md, by id."""

from __future__ import annotations

import difflib
import importlib
from functools import cache

from expander_theory.base import InvalidArgument
from expander_theory.theorems.statement import Statement

_MODULES = (
    *("expansion", "probability", "designs", "identifiability", "support_uniqueness", "l1"),
    *("pursuit.omp", "pursuit.omp_flat", "pursuit.omp_noise", "pursuit.omp_limits"),
    "l1_erc",
    *("pursuit.topk", "amortisation", "pursuit.onestep"),
    *("pursuit.capture", "pursuit.second_step", "pursuit.random_signs", "pursuit.gaussian"),
    *("l0_decoding", "trials", "curves"),
)


@cache
def statements() -> dict[str, Statement]:
    """Every statement by id, in the order of THEORY.md; mutants are in their ``mutants``."""
    modules = (importlib.import_module(f"expander_theory.theorems._statements.{name}") for name in _MODULES)
    return {statement.id: statement for module in modules for statement in module.STATEMENTS}


@cache
def mutants() -> dict[str, Statement]:
    """Every wrong variant by id ("IDN-1/eps_k")."""
    return {mutant.id: mutant for statement in statements().values() for mutant in statement.mutants}


def find_statement(id: str) -> Statement:
    """The statement or mutant of this id, in any case of letters.

    Raises:
        InvalidArgument: there is none; the text names the nearest.
    """
    known = {name.lower(): value for name, value in {**statements(), **mutants()}.items()}
    if id.lower() in known:
        return known[id.lower()]
    close = difflib.get_close_matches(id.lower(), known, 1, cutoff=0.5)
    hint = f"; did you mean {known[close[0]].id}?" if close else ""
    raise InvalidArgument("id", repr(id), f"is no statement of THEORY.md{hint} (`expander theorems` lists them)")
