"""The page of results: verdicts, interactive figures, certificates, provenance."""
