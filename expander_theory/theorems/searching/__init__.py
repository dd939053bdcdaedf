"""The search for counterexamples: strategies, attacks, campaigns."""
