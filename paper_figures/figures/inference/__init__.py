"""Figures of inference on trained decoders: algorithms, amortisation, recovery."""
