"""The tables that a partition keeps: rows of entities, and ids of events."""
