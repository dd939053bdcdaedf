"""Subcommands of ``expander`` that need the core alone: thin, one a file."""
