"""TODO-DOC deploy/servers."""
