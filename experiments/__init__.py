"""Named, typed experiments: each writes ledgers, and nothing else."""
