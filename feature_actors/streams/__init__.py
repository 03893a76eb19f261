"""TODO-DOC feature_actors/streams."""
