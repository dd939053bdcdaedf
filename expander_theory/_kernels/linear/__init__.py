"""Products with sparse and dense columns, in vectors of the processor."""
