"""Experiments: users by the hash of their key in arms, and lists that explore."""
