"""Answers: requests in, scores out, with the latest features and weights."""
