"""TODO-DOC benchmarks/latency."""
