"""The benchmarks, from small files in each published format with the odd cases of the real ones."""
