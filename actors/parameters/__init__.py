"""TODO-DOC actors/parameters."""
