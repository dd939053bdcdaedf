"""Loops of statistics."""
