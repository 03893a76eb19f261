"""Benches of what the model learns from real data sets."""
