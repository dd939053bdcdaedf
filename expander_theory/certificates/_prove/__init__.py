"""How claims are proved; shares nothing with the checker but FORMAT.md."""
