"""TODO-DOC deploy/cluster."""
