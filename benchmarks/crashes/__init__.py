"""TODO-DOC benchmarks/crashes."""
