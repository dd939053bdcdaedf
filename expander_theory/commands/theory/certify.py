"""``expander certify``."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from expander_theory.base import InvalidArgument, InvalidFile, require
from expander_theory.results import require_new, table

if TYPE_CHECKING:
    from expander_theory.dictionaries import AnyDictionary


@dataclass(frozen=True)
class Certify:
    """Write a certificate of what theorems guarantee for a dictionary. Every number in it is exact and checkable."""

    dictionary: tyro.conf.Positional[Path]
    """A dictionary saved by `expander build --values ...` or `expander sae train`, or a matrix (m, n): .npy, or .npz of
    scipy.sparse."""
    out: Path
    """File for the certificate (JSON); `expander check-certificate` verifies it."""
    dynamic_range: str = "1"
    """Largest over least modulus of the codes that the TopK encoder is asked for: 2, 3/2 or 1.5."""
    time_limit: float = 60.0
    """Seconds for exhaustive searches of sets of columns that collide most."""
    sampled: Literal["omp", "topk", "uniqueness"] | None = None
    """Instead of what holds for every code: for which share of all supports it does, at confidence 1 - 10^-6. omp: OMP
    recovers every code on the support. topk: the tied encoder does, at the dynamic range. uniqueness: no other code is
    as sparse."""
    k: tuple[int, ...] = ()
    """Sparsities for --sampled; default: growing, until hardly a support has the property."""
    samples: int = 2000
    """Supports drawn for each k; their stream is fixed by the dictionary and the claim."""
    codes: Path | None = None
    """Draw the supports of these codes (.npz of scipy.sparse, as `expander sae codes` writes it) instead of uniform
    ones."""
    force: bool = False
    """Overwrite an existing file."""

    def run(self) -> None:
        from expander_theory.dictionaries import load_matrix
        from expander_theory.masks import KIND
        from expander_theory.results import stored_kind

        dynamic_range = _rational("dynamic-range", self.dynamic_range)
        require(dynamic_range >= 1, "dynamic-range", self.dynamic_range, "must be at least 1")
        require(self.time_limit >= 0, "time-limit", self.time_limit, "must be at least 0 seconds")
        for name in ("k", "codes"):
            given = getattr(self, name)
            require(self.sampled is not None or not given, name, given, "goes with --sampled")
        require_new(self.out, self.force)
        if self.dictionary.suffix not in (".npy", ".npz") and stored_kind(self.dictionary) == KIND:
            raise InvalidFile(self.dictionary, "is a mask without values; certificates are for dictionaries")
        dictionary = load_matrix(self.dictionary)
        if self.sampled is None:
            self._every_code(dictionary, dynamic_range)
        else:
            self._most_supports(dictionary, dynamic_range, _GOALS[self.sampled])

    def _every_code(self, dictionary: "AnyDictionary", dynamic_range: Fraction) -> None:
        from expander_theory.certificates import best_claims, certify, write_certificate

        certificate = certify(dictionary, dynamic_range=dynamic_range, time_limit=self.time_limit)
        write_certificate(certificate, self.out)
        print(table([_row(claim, dictionary.n) for claim in certificate["claims"]]))
        print()
        for line in best_claims(certificate):
            print(line)
        print(f"\nwritten to {self.out}; `expander check-certificate` verifies it")

    def _most_supports(self, dictionary: "AnyDictionary", dynamic_range: Fraction, goal: Any) -> None:
        from expander_theory.certificates import certify_supports, write_certificate

        certificate = certify_supports(
            dictionary,
            goal,
            self.k or None,
            samples=self.samples,
            dynamic_range=dynamic_range,
            codes=self.codes,
        )
        write_certificate(certificate, self.out)
        rows = [
            {"k": row["k"], "certified": f"{row['certified']}/{self.samples}", "share at least": float(row["share"])}
            for row in certificate["curve"]
        ]
        print(f"{table(rows)}\n\nOf the share of all supports, at confidence 1 - 10^-6 for each k:")
        print(certificate["claim"]["states"])
        print(f"\nwritten to {self.out}; `expander check-certificate` verifies it")


_GOALS = {"omp": "OMP", "topk": "TopK encoder", "uniqueness": "uniqueness"}


def _row(claim: dict[str, Any], n: int) -> dict[str, Any]:
    at_k, at_next = claim["at_k"], claim["at_next"]
    if claim["refused"]:
        stops = claim["refused"]
    elif at_next:
        stops = f"{_short(at_next['left'])} >= {_short(at_next['right'])}"
    else:
        stops = "there are no more columns" if claim["k"] == n else "sizes above 512 are not examined"
    return {
        "theorem": claim["theorem"],
        "goal": claim["goal"],
        "k": claim["k"],
        "slack at k": _short(at_k["slack"]) if at_k else "",
        "why not k + 1": stops,
    }


def _short(rational: str) -> str:
    value = Fraction(rational)
    try:
        return f"{float(value):.4g}"
    except OverflowError:
        return "over 1e308"


def _rational(name: str, text: str) -> Fraction:
    """An exact rational from "2", "3/2" or "1.5"."""
    if re.fullmatch(r"\d{1,18}(\.\d{1,18}|/\d{1,18})?", text.strip()):
        try:
            return Fraction(text.strip())
        except ZeroDivisionError:
            pass
    raise InvalidArgument(name, repr(text), "must be a number of at least 1, such as 2, 3/2 or 1.5")
