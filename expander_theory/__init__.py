"""Masks, guarantees and recovery for expander dictionaries."""
