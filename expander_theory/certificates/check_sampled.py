"""The checker of sampled certificates: it trusts nothing but the dictionary, the codes and the page SAMPLED.md."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expander_theory.base import require
from expander_theory.certificates._check.fields import Refused, parse
from expander_theory.certificates._check.sampled import FORMAT, Codes, check_sampled
from expander_theory.certificates.check import InvalidCertificate
from expander_theory.dictionaries import AnyDictionary, as_dictionary
from expander_theory.simulation import codes_hash, load_codes


@dataclass(frozen=True)
class CheckedShare:
    """One line of the curve that was verified: of all supports of k columns at least ``share`` have the property of the
    goal, at the certificate's confidence; ``certified`` of the ``samples`` drawn have it."""

    goal: str
    k: int
    certified: int
    samples: int
    share: Fraction


def check_sampled_certificate(
    certificate: Mapping[str, Any] | str | os.PathLike[str],
    dictionary: AnyDictionary | ArrayLike | Any,
    codes: str | os.PathLike[str] | None = None,
    *,
    progress: bool = True,
) -> tuple[CheckedShare, ...]:
    """Verify a sampled certificate (SAMPLED.md, version 1): supports are drawn again, and each is decided again.

    As long as the prover took, or a few times as long.

    Args:
        certificate: its JSON content, or the file that holds it.
        dictionary: that it is about, or the NumPy or scipy.sparse matrix.
        codes: the file of codes whose supports it is about, if it is about such.
        progress: show progress bars on standard error.

    Raises:
        InvalidCertificate: not such a certificate, of another dictionary or codes, altered, or not true.
        InvalidArgument: no dictionary.
        InvalidFile: codes that cannot be read.
    """
    given = isinstance(certificate, Mapping | str | os.PathLike)
    require(given, "certificate", type(certificate).__name__, "must be its content or the path of its file")
    source = "certificate" if isinstance(certificate, Mapping) else os.fspath(certificate)
    w, drawn_from = as_dictionary(dictionary), None if codes is None else _ranked(codes)
    try:
        content = dict(certificate) if isinstance(certificate, Mapping) else parse(Path(certificate))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise Refused("", f"not a sampled certificate (its format is not {FORMAT!r})")
        curve = check_sampled(content, w, drawn_from, progress=progress)
    except Refused as refused:
        raise InvalidCertificate(source, str(refused)) from None
    goal, samples = content["claim"]["goal"], content["claim"]["samples"]
    return tuple(CheckedShare(goal, r["k"], r["certified"], samples, Fraction(r["share"])) for r in curve)


def is_sampled(path: str | os.PathLike[str]) -> bool:
    """Whether a file says that it is a sampled certificate; a file that says nothing is no certificate of this kind."""
    try:
        content = parse(Path(path))
    except Refused:
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def _ranked(path: str | os.PathLike[str]) -> Codes:
    """Columns of each code by falling modulus, equal ones by index."""
    codes = load_codes(path)
    ranked = []
    for first, last in zip(codes.indptr, codes.indptr[1:], strict=False):
        atoms, moduli = codes.indices[first:last], np.abs(codes.data[first:last])
        ranked.append([atom for _, atom in sorted(zip((-moduli).tolist(), atoms.tolist(), strict=True))])
    return Codes(codes_hash(codes), ranked)
