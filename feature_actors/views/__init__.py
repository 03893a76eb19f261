"""TODO-DOC feature_actors/views."""
