"""Copies of the records of a topic that is keyed otherwise: their form, and each taken once."""
