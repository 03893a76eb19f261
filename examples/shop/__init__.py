"""TODO-DOC examples/shop."""
