"""The independent checker of certificates: it trusts nothing but the dictionary and the page FORMAT.md.

It is written from that page and shares no code with the prover. Every fact and every claim is recomputed in exact
integer and rational arithmetic and compared with what the certificate says.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from numpy.typing import ArrayLike

from expander_theory.base import InvalidFile, require, require_int
from expander_theory.certificates._check.claims import CLAIMS, Known, evaluate
from expander_theory.certificates._check.dense import Whole
from expander_theory.certificates._check.facts import Scaled, decimals, gram_sums, scaled, value_facts
from expander_theory.certificates._check.fields import Refused, agree, rational, read_certificate, shown
from expander_theory.certificates._check.losses import check_losses
from expander_theory.certificates._check.overlaps import has_triangle, overlap_counts
from expander_theory.certificates._check.search import MOST_CANDIDATES, Effort
from expander_theory.dictionaries import AnyDictionary, BlockDictionary, Dictionary, as_dictionary


class InvalidCertificate(InvalidFile):
    """A certificate that does not hold; the text names the field, what it says and the true value."""


@dataclass(frozen=True)
class Checked:
    """One claim that was verified: ``theorem`` gives ``goal`` up to sparsity ``k``.

    ``slack`` = right - left of the theorem's condition at k, exact and positive; None if k = 0. ``refused`` says why
    the theorem does not apply, where it does not.
    """

    theorem: str
    goal: str
    k: int
    slack: Fraction | None
    refused: str | None


def check_certificate(
    certificate: Mapping[str, Any] | str | os.PathLike[str],
    dictionary: AnyDictionary | ArrayLike | Any,
    *,
    progress: bool = True,
    most_candidates: int = MOST_CANDIDATES,
) -> tuple[Checked, ...]:
    """Verify a certificate (FORMAT.md, versions 1 to 3) for a dictionary; return what it proves, in its order.

    Args:
        certificate: its JSON content, or the file that holds it.
        dictionary: that it is about, or the NumPy or scipy.sparse matrix.
        progress: show progress bars on standard error.
        most_candidates: what the checker is willing to do: candidates for a set that all its searches may examine
            together, by default 5 thousand million, some minutes; they are counted before they are examined.

    Raises:
        InvalidCertificate: not a certificate, of another version or dictionary, altered, or not true; also where the
            searches that it claims would need more candidates to verify, or one of them more than 20 million sets.
        InvalidArgument: ``dictionary`` is none, or an argument of another type or out of range.
    """
    given = isinstance(certificate, Mapping | str | os.PathLike)
    require(given, "certificate", type(certificate).__name__, "must be its content or the path of its file")
    effort = Effort(require_int("most_candidates", most_candidates))
    require(effort.most >= 0, "most_candidates", effort.most, "must be at least 0")
    w = as_dictionary(dictionary)
    source = "certificate" if isinstance(certificate, Mapping) else os.fspath(certificate)
    try:
        content = read_certificate(certificate)
        _check_subject(content, w)
        dynamic_range = rational("dynamic_range", content["dynamic_range"])
        if dynamic_range < 1:
            raise Refused("dynamic_range", f"is {shown(content['dynamic_range'])}, must be at least 1")
        if isinstance(w, Dictionary):
            known = _check_facts(content["facts"], scaled(w), dynamic_range, progress, effort)
        else:
            known = _check_maskless(content["facts"], Whole(w), dynamic_range, progress)
        evaluated = [evaluate(claim, known) for claim in CLAIMS if claim.belongs(content["version"])]
        agree("claims", content["claims"], [entry for entry, _ in evaluated])
    except Refused as refused:
        raise InvalidCertificate(source, str(refused)) from None
    return tuple(Checked(e["theorem"], e["goal"], e["k"], slack, e["refused"]) for e, slack in evaluated)


def _check_subject(content: dict[str, Any], dictionary: AnyDictionary) -> None:
    stored = content["dictionary"]
    if stored["sha256"] != dictionary.sha256:
        raise Refused(
            "dictionary.sha256",
            f"the certificate is for the dictionary {shown(stored['sha256'])}, this one is {dictionary.sha256!r}",
        )
    masked = isinstance(dictionary, Dictionary)
    if masked != (content["version"] < 3):
        about = "masked dictionaries" if content["version"] < 3 else "dictionaries without a mask"
        raise Refused("version", f"is {content['version']}, which is for {about}")
    if not masked:
        kind = "blocks" if isinstance(dictionary, BlockDictionary) else "dense"
        agree("dictionary.kind", stored["kind"], kind)
    for name in ("m", "n", "d") if masked else ("m", "n"):
        agree(f"dictionary.{name}", stored[name], getattr(dictionary, name))


def _check_maskless(facts: dict[str, Any], w: Whole, dynamic_range: Fraction, progress: bool) -> Known:
    """Recompute norms and Gram sums, and compare."""
    norms, away = w.squares()
    agree("facts.norms", facts["norms"], norms)
    sums, columns = w.sums(Fraction(norms["least"]), progress=progress)
    agree("facts.gram", facts["gram"], {"sums": [str(a) for a in sums], "columns": columns})
    refusals = {}
    if away is not None:
        refusals["unit"] = f"needs unit columns: column {away} has squared norm {decimals(w.exact(away, away))}"
    zero = Fraction(0)
    least = Fraction(norms["least"])
    return Known(w.n, w.m, [0, 0], sums, least, zero, zero, 0, False, dynamic_range, refusals)


def _check_facts(facts: dict[str, Any], w: Scaled, dynamic_range: Fraction, progress: bool, effort: Effort) -> Known:
    """Recompute every fact, cheapest first, and compare; return them for the claims."""
    values = value_facts(w)
    for name, true in values.items():
        agree(f"facts.{name}", facts[name], true)
    counts, overlap, pair = overlap_counts(w.m, w.rows, progress=progress)
    agree("facts.overlap", facts["overlap"], {"largest": overlap, "pair": pair})
    triangle_free = not has_triangle(w.m, w.rows, progress=progress) if overlap <= 1 else None
    agree("facts.triangle_free", facts["triangle_free"], triangle_free)
    sums, columns = gram_sums(w, progress=progress)
    exact = [w.exact(a) for a in sums]
    agree("facts.gram", facts["gram"], {"sums": [str(a) for a in exact], "columns": columns})
    losses = check_losses(facts["losses"], w.m, w.rows, counts, overlap, progress=progress, effort=effort)
    return Known(
        n=w.n,
        d=w.d,
        losses=losses,
        sums=exact,
        least=w.exact(min(w.squares)),
        curvature=Fraction(values["flatness"]["C_squared"]),
        beta=Fraction(values["flatness"]["beta"]),
        overlap=overlap,
        triangle_free=triangle_free is True,
        range=dynamic_range,
        refusals=_refusals(w, values, overlap, pair),
    )


def _refusals(w: Scaled, values: dict[str, Any], overlap: int, pair: list[int] | None) -> dict[str, str]:
    """The text of FORMAT.md for each requirement that this dictionary does not meet."""
    refusals = {}
    if (zero := values["zeros"]["first_column"]) is not None:
        refusals["full"] = f"needs a full mask: column {zero} has a zero entry"
    if overlap > 1 and pair is not None:
        refusals["overlap"] = f"needs overlap at most 1: columns {pair[0]} and {pair[1]} share {overlap} rows"
    away = next((j for j, square in enumerate(w.squares) if 10000 * abs(square - w.unit) > 2 * w.unit), None)
    if away is not None:
        refusals["unit"] = f"needs unit columns: column {away} has squared norm {decimals(w.exact(w.squares[away]))}"
    if not values["binary"]:
        refusals["binary"] = "needs equal positive values"
    return refusals
