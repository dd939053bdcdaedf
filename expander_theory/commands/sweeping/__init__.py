"""``expander sweep``: options, grid, tables."""
