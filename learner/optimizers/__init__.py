"""Optimisers: how weights and their state follow the gradient."""
