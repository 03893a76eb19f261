"""TODO-DOC benchmarks/chaos."""
