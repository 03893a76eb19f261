"""TODO-DOC deploy/config."""
