"""Loops behind what is proved for single supports."""
