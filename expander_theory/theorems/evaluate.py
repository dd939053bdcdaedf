"""A statement on a concrete dictionary."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from expander_theory.base import InvalidArgument, require, require_int
from expander_theory.dictionaries import AnyDictionary, DenseDictionary, Dictionary, Floats, checked_signals
from expander_theory.theorems.case import Case
from expander_theory.theorems.registry import find_statement
from expander_theory.theorems.slack import Slack
from expander_theory.theorems.statement import Evaluation, Statement

UNIT = 1e-4
"""Largest deviation of a column norm from 1 where unit columns are needed."""


def evaluate(
    statement: str | Statement,
    dictionary: AnyDictionary,
    k: int,
    *,
    code: ArrayLike | None = None,
    noise: ArrayLike | None = None,
    signal: ArrayLike | None = None,
    time_limit: float = 10.0,
) -> Evaluation:
    """Margins of a statement's hypotheses on this dictionary and, where they are met, of its conclusion.

    Args:
        statement: an id of THEORY.md, or a statement of your own.
        k: sparsity, or the size of sets that the statement speaks of; 1..n.
        code: x of shape (n,), for statements about one code.
        noise: e of shape (m,).
        signal: h of shape (m,), for statements about an activation of no code in particular.
        time_limit: seconds for the exact expansion of large masks; what is open then is an interval, and the
            hypothesis is "undecided", never false.

    Raises:
        InvalidArgument: k, code or noise out of range, a dense dictionary, a column that is not of unit norm or has
            a zero entry where the statement needs otherwise (the text names it), or a conclusion about all
            supports of a dictionary too large for it.
    """
    chosen = find_statement(statement) if isinstance(statement, str) else statement
    require(chosen.instances is None, "statement", chosen.id, "is not about one dictionary: it can only be attacked")
    return chosen.evaluate(_case(chosen, dictionary, k, code, noise, time_limit, signal))


def hypotheses(
    statement: Statement, dictionary: AnyDictionary, k: int, *, like: Case | None = None, time_limit: float = 10.0
) -> tuple[Case, dict[str, Slack | None]]:
    """Margins of the hypotheses, by name; those that speak of a code raise :class:`InvalidArgument`.

    Args:
        like: a case of the same dictionary, whose expansion is used again.

    Returns:
        the case, for ``like``, and the margins; None of one that cannot be computed where an earlier one is not met.
    """
    case = _case(statement, dictionary, k, None, None, time_limit)
    if like is not None:
        case.profiles.extend(like.profiles)
    margins: dict[str, Slack | None] = {}
    met = True
    for name, condition in statement.hypotheses.items():
        try:
            margins[name] = found = condition(case)
            met = met and found.met
        except Exception:
            if met:
                raise
            margins[name] = None  # it may make no sense there
    return case, margins


def _case(
    statement: Statement,
    dictionary: AnyDictionary,
    k: int,
    code: ArrayLike | None,
    noise: ArrayLike | None,
    time_limit: float,
    signal: ArrayLike | None = None,
) -> Case:
    if not isinstance(dictionary, Dictionary):
        kind = "dense" if isinstance(dictionary, DenseDictionary) else "of blocks"
        raise InvalidArgument("dictionary", kind, "must be a masked dictionary: the statements are about masks")
    k = require_int("k", k)
    require(1 <= k <= dictionary.n, "k", k, f"must be between 1 and n = {dictionary.n}")
    if "full" in statement.needs:
        holes = (dictionary.values == 0).any(axis=1)
        where = int(np.argmax(holes))
        require(
            not holes.any(), "dictionary", f"has a zero entry in column {where}", f"{statement.id} needs a full mask"
        )
    if "unit" in statement.needs:
        off = np.abs(dictionary.column_norms - 1) > UNIT
        where = int(np.argmax(off))
        norm = float(dictionary.column_norms[where])
        require(
            not off.any(), "dictionary", f"column {where} has norm {norm:.6g}",
            f"{statement.id} needs unit-l2 columns: use dictionary.normalised()",
        )  # fmt: skip
    x = None if code is None else _vector("code", code, dictionary.n)
    e = None if noise is None else _vector("noise", noise, dictionary.m)
    if x is not None:
        size = int(np.count_nonzero(x))
        require(size > 0, "code", "all zero", "must have a nonzero entry")
        sparse = statement.draws.code != "k" or size <= k
        require(sparse, "code", f"of {size} nonzeros", f"{statement.id} is about codes of at most k = {k}")
    h = None if signal is None else _vector("signal", signal, dictionary.m)
    return Case(dictionary, k, x, e, unit="unit" in statement.needs, time_limit=time_limit, signal=h)


def _vector(name: str, given: ArrayLike, size: int) -> Floats:
    require(np.ndim(given) == 1, name, f"array of shape {np.shape(given)}", f"must have shape ({size},)")
    return checked_signals(name, given, size, np.dtype(np.float64))[0]
