"""How certificates are checked; shares nothing with the prover but FORMAT.md."""
