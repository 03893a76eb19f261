"""TODO-DOC deploy/wiring."""
