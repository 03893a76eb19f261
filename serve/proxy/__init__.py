"""TODO-DOC serve/proxy."""
