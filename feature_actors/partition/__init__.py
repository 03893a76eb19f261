"""TODO-DOC feature_actors/partition."""
