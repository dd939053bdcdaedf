"""``expander ledger``: merge, status, export."""
