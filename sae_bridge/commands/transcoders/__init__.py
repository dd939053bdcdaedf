"""The commands on transcoders."""
