"""TODO-DOC benchmarks/quality."""
