"""TODO-DOC feature_actors/state."""
