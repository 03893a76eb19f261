"""TODO-DOC actors/snapshots."""
