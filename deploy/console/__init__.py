"""TODO-DOC deploy/console."""
