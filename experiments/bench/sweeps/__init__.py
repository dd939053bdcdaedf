"""How many exact-support trials a second a sweep runs, beside the same loop in plain NumPy."""
