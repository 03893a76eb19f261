"""The benches that `freshrank bench` runs: each measures the running system or checks a promise."""
