"""Benchmarks: ``python -m experiments.bench.omp``, ``torch_omp``, ``sae`` and ``sae_cuda``, all on one driver."""
