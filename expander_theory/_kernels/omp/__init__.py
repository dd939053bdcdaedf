"""Loops of OMP, a backend each; all share the bookkeeping in ``pursuit``."""
