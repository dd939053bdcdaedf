"""Subcommands of ``expander`` that need the core alone: thin, one a file; exported is what other commands use.

Nothing here may be slow to import: ``expander --help`` waits for it.
"""

from expander_theory.commands.listing import overview, refusal
from expander_theory.commands.output import csv_bytes, require_new, table, write_csv, write_json

__all__ = [
    "csv_bytes",
    "overview",
    "refusal",
    "require_new",
    "table",
    "write_csv",
    "write_json",
]
