"""Certificates: what is proved of a dictionary, in exact arithmetic, and an independent checker."""

from expander_theory.certificates._check.facts import decimals
from expander_theory.certificates._check.overlaps import overlap_counts
from expander_theory.certificates.check import check_certificate
from expander_theory.certificates.check_sampled import CheckedShare, check_sampled_certificate, is_sampled
from expander_theory.certificates.prove import certify, write_certificate
from expander_theory.certificates.sampled import certify_supports, growing
from expander_theory.certificates.summary import best_claims

__all__ = [
    "CheckedShare",
    "best_claims",
    "certify",
    "certify_supports",
    "check_certificate",
    "check_sampled_certificate",
    "decimals",
    "growing",
    "is_sampled",
    "overlap_counts",
    "write_certificate",
]
