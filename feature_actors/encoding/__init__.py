"""TODO-DOC feature_actors/encoding."""
