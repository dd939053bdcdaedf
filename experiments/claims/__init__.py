"""One experiment for each claim of the paper, and for what goes beyond it: ``expander experiment NAME``."""
