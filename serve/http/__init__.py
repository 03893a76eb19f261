"""TODO-DOC serve/http."""
