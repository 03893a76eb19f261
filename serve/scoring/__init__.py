"""TODO-DOC serve/scoring."""
