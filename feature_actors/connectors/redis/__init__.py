"""TODO-DOC feature_actors/connectors/redis."""
