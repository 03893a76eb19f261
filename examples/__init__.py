"""Pipelines to copy, one file for each use, and the simulated shop of the demonstration."""
