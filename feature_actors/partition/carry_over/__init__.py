"""Snapshots of other definitions, carried over to those of now."""
