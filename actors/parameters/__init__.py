"""Weights on their way: the learner's log of deltas, and the copies that follow it."""
