"""TODO-DOC deploy/state."""
