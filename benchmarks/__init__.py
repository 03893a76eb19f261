"""What is measured: one module a bench, listed in `registry`."""
