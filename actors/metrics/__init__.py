"""Numbers that components report: latencies by quantile, rates."""
