"""Recorded events of a user's data, and the features that were true at any time."""
