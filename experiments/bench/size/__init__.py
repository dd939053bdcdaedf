"""Time and memory of SAEs as the number of features grows to a million."""
