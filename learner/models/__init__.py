"""Models and losses: what a pipeline names, and its mathematics."""
