"""Dictionary learning against other libraries': ``python -m experiments.bench.dictionary_learning``."""
