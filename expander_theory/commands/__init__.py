"""The core's commands, one a file, thin; and the overview that ``expander --help`` prints."""

from expander_theory.commands.listing import overview, refusal

__all__ = ["overview", "refusal"]
