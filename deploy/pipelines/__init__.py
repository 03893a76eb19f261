"""TODO-DOC deploy/pipelines."""
