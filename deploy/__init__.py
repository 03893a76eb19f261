"""Pipelines and settings put together into a running system, and the command line."""
