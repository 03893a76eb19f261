"""TODO-DOC feature_actors/labels."""
