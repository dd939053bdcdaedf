"""Certificates: what is proved of a dictionary, in exact arithmetic, and an independent checker."""

from expander_theory.certificates._check.facts import decimals
from expander_theory.certificates._check.overlaps import overlap_counts
from expander_theory.certificates.check import check_certificate
from expander_theory.certificates.prove import certify, write_certificate

__all__ = [
    "certify",
    "check_certificate",
    "decimals",
    "overlap_counts",
    "write_certificate",
]
