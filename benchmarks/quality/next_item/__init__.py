"""Next-item recommendation: ours beside others, over the same events in the order of time."""
