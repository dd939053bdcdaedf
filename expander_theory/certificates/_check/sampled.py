"""Sampled certificates checked from the page SAMPLED.md: supports are drawn and decided again, shares recomputed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from expander_theory.base import progress_bar
from expander_theory.certificates._check.decide import Columns, omp_holds, range_holds, rows_hold
from expander_theory.certificates._check.fields import Refused, agree, hash_of, rational, require_fields, shown
from expander_theory.dictionaries import AnyDictionary, DenseDictionary, Dictionary
from expander_theory.results import canonical_json

FORMAT, VERSION = "expander-sampled-certificate", 1
MOST_SAMPLES = 10_000
_LARGEST = 10**300

FIELDS = {
    "format": str,
    "version": int,
    "dictionary": {"sha256": str, "kind": str, "m": int, "n": int},
    "claim": {"goal": str, "states": str, "dynamic_range": (str,), "codes": (str,), "samples": int, "error": str},
    "curve": [{"k": int, "certified": int, "share": str}],
    "sha256": str,
}
_STATES = {
    "OMP": "OMP recovers every code on the support, whatever its coefficients",
    "TopK encoder": "the tied TopK encoder finds support and signs of every code on the support of this dynamic range",
    "uniqueness": "every code on the support is the only code of its activation with at most as many nonzeros",
}


@dataclass(frozen=True)
class Codes:
    """Codes that supports are drawn from: their content hash, and for each the columns by falling modulus."""

    sha256: str
    ranked: list[list[int]]


def check_sampled(
    content: Mapping[str, Any], dictionary: AnyDictionary, codes: Codes | None, *, progress: bool
) -> list[dict[str, Any]]:
    """The curve of a certificate that holds.

    Raises:
        Refused: the first field that is wrong.
    """
    require_fields(content, FIELDS)
    if content["version"] != VERSION:
        raise Refused("version", f"is {shown(content['version'])}, this release reads version {VERSION}")
    digest = hash_of(content)
    if digest != content["sha256"]:
        raise Refused("sha256", f"altered: the certificate says {shown(content['sha256'])}, its content has {digest!r}")
    kind = "masked" if isinstance(dictionary, Dictionary) else "blocks"
    kind = "dense" if isinstance(dictionary, DenseDictionary) else kind
    if content["dictionary"]["sha256"] != dictionary.sha256:
        stored = shown(content["dictionary"]["sha256"])
        problem = f"the certificate is for the dictionary {stored}, this one is {dictionary.sha256!r}"
        raise Refused("dictionary.sha256", problem)
    for name, true in (("kind", kind), ("m", dictionary.m), ("n", dictionary.n)):
        agree(f"dictionary.{name}", content["dictionary"][name], true)
    claim = content["claim"]
    error, dynamic_range = _check_claim(claim, codes)
    columns = Columns(dictionary)
    _check_needs(claim["goal"], columns)
    _check_ks(content["curve"], claim, columns, codes)
    for place, line in enumerate(content["curve"]):
        k, samples = line["k"], claim["samples"]
        key = {"dictionary": dictionary.sha256, "goal": claim["goal"], "k": k}
        key |= {"dynamic_range": claim["dynamic_range"], "codes": claim["codes"]}
        count = 0
        supports = _supports(Numbers(key), columns.n, k, samples, codes)
        for support in progress_bar(supports, show=progress, desc=f"k = {k}", unit="support", leave=False):
            if claim["goal"] == "OMP":
                count += omp_holds(columns, support)
            elif claim["goal"] == "uniqueness":
                count += rows_hold(columns, support)
            else:
                count += range_holds(columns, support, dynamic_range)
        agree(f"curve[{place}].certified", line["certified"], count)
        agree(f"curve[{place}].share", line["share"], share_of(count, samples, error))
    return [dict(line) for line in content["curve"]]


def _check_claim(claim: Mapping[str, Any], codes: Codes | None) -> tuple[Fraction, Fraction]:
    """Error and dynamic range."""
    goal = claim["goal"]
    if goal not in _STATES:
        raise Refused("claim.goal", f"is {shown(goal)}, must be one of {', '.join(_STATES)}")
    agree("claim.states", claim["states"], _STATES[goal])
    if not 1 <= claim["samples"] <= MOST_SAMPLES:
        raise Refused("claim.samples", f"is {claim['samples']}, must be between 1 and {MOST_SAMPLES}")
    error = rational("claim.error", claim["error"])
    if not 0 < error < 1 or error.denominator > _LARGEST:
        raise Refused("claim.error", f"is {shown(claim['error'])}, must be in (0, 1), of at most 300 digits")
    if claim["codes"] is None and codes is not None:
        raise Refused("claim.codes", "is null: the certificate is about uniform supports, not about codes of a file")
    if claim["codes"] is not None and codes is None:
        raise Refused("claim.codes", f"names the codes {shown(claim['codes'])}: they have to be given to be drawn from")
    if codes is not None:
        agree("claim.codes", claim["codes"], codes.sha256)
    if goal != "TopK encoder":
        agree("claim.dynamic_range", claim["dynamic_range"], None)
        return error, Fraction(1)
    if claim["dynamic_range"] is None:
        raise Refused("claim.dynamic_range", "is null, must be a rational of at least 1 for the TopK encoder")
    dynamic_range = rational("claim.dynamic_range", claim["dynamic_range"])
    if dynamic_range < 1 or max(dynamic_range.as_integer_ratio()) > _LARGEST:
        raise Refused(
            "claim.dynamic_range",
            f"is {shown(claim['dynamic_range'])}, must be at least 1, of integers up to {_LARGEST}",
        )
    return error, dynamic_range


def _check_needs(goal: str, columns: Columns) -> None:
    if goal == "uniqueness":
        if not columns.full:
            raise Refused("claim.goal", "needs a full mask, which this dictionary has not")
    elif (away := columns.off_unit()) is not None:
        raise Refused("claim.goal", f"needs unit columns: column {away} has a squared norm off 1 by more than 2e-4")


def _check_ks(curve: list[dict[str, Any]], claim: Mapping[str, Any], columns: Columns, codes: Codes | None) -> None:
    limit = min(columns.m, columns.n - (claim["goal"] == "TopK encoder"))
    if codes is not None:
        limit = min(limit, max(map(len, codes.ranked)))
    if not curve:
        raise Refused("curve", "is empty")
    last = 0
    for place, line in enumerate(curve):
        if not last < line["k"] <= limit:
            raise Refused(f"curve[{place}].k", f"is {line['k']}, must be above {last} and at most {limit}")
        last = line["k"]


class Numbers:
    """The stream of a key: numbers below any bound, by the top bits of Philox words."""

    def __init__(self, key: dict[str, Any]) -> None:
        digest = hashlib.sha256(canonical_json(key).encode()).hexdigest()
        self._source = np.random.Philox(key=int(digest[:32], 16))
        self._words: list[int] = []

    def below(self, bound: int) -> int:
        """The next number below the bound."""
        drop = 64 - max(1, (bound - 1).bit_length())
        while True:
            if not self._words:
                self._words = self._source.random_raw(4096).tolist()[::-1]
            number = self._words.pop() >> drop
            if number < bound:
                return number


def _supports(numbers: Numbers, n: int, k: int, samples: int, codes: Codes | None) -> list[list[int]]:
    if codes is not None:
        long = [ranked for ranked in codes.ranked if len(ranked) >= k]
        return [sorted(long[numbers.below(len(long))][:k]) for _ in range(samples)]
    drawn = []
    for _ in range(samples):
        support: dict[int, None] = {}
        while len(support) < k:
            support[numbers.below(n)] = None
        drawn.append(sorted(support))
    return drawn


def share_of(count: int, samples: int, error: Fraction) -> str:
    """a/10^6 with six decimals, a the largest for which P(Bin(samples, a/10^6) >= count) <= error; by bisection."""
    low, high = 0, 10**6  # at ``low`` the tail is at most the error (at 0 it is 0, unless count = 0)
    while count > 0 and high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _tail(count, samples, middle) <= error * 10 ** (6 * samples) else (low, middle)
    return f"{low // 10**6}.{low % 10**6:06}"


def _tail(count: int, samples: int, a: int) -> int:
    """10^(6 samples) P(Bin(samples, a/10^6) >= count), 0 < a < 10^6, an integer."""
    b = 10**6 - a
    upper = samples - count < count
    term, total = (a**samples, 0) if upper else (b**samples, 0)
    for step in range(samples - count + 1 if upper else count):
        total += term
        # the next term has one success fewer (more): C(s, i -+ 1) from C(s, i), and one factor exchanged
        term = term * (samples - step) * (b if upper else a) // ((step + 1) * (a if upper else b))
    return total if upper else 10 ** (6 * samples) - total
