"""TODO-DOC deploy/commands."""
