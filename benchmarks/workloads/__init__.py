"""TODO-DOC benchmarks/workloads."""
