"""What ``expander figures`` writes: figures of stored results with the data plotted, tables and a manifest."""
