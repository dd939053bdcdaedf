"""Subcommands ``expander fetch`` and ``expander sae ...``: thin, one a file; torch is imported when they run."""
