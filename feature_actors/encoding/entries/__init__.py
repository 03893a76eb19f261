"""Entries of a context that nothing carries as they are."""
