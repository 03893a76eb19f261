"""TODO-DOC benchmarks/fuzz."""
