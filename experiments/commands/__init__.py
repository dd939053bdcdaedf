"""Commands of experiments: each runs one, which writes a ledger, and draws what the ledger allows."""
