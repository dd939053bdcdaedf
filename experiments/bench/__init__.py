"""Parts of the benchmark :mod:`experiments.bench_omp`."""
