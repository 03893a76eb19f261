"""TODO-DOC serve/api."""
