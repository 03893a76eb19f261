"""Pipelines to copy, and the traffic of the demonstration."""
