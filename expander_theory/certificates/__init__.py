"""Certificates: what is proved of a dictionary, in exact arithmetic, and an independent checker."""

from expander_theory.certificates._check.facts import decimals
from expander_theory.certificates._check.overlaps import overlap_counts
from expander_theory.certificates.check import check_certificate
from expander_theory.certificates.prove import certify, write_certificate
from expander_theory.certificates.summary import best_claims

__all__ = [
    "best_claims",
    "certify",
    "check_certificate",
    "decimals",
    "overlap_counts",
    "write_certificate",
]
