"""Loops that draw or grow masks and planted codes."""
