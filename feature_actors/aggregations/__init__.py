"""Aggregates: a module for each family, with its definitions and their compiled loops."""
