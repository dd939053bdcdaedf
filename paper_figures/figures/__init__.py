"""The figures, a module each: every one has a function ``draw`` of stored ledgers."""
