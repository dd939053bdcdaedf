"""Statements on OMP, TopK and one-step codes."""
