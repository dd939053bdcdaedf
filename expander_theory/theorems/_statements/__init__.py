"""The statements of THEORY.md, by group."""
