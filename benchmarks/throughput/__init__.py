"""TODO-DOC benchmarks/throughput."""
