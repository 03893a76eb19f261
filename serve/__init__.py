"""Scores over REST, from the latest features and weights."""
