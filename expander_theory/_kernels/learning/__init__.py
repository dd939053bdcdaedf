"""Loops of dictionary learning on prepared arrays: values of the columns, and the rows that they stand in."""
