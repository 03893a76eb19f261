"""TODO-DOC feature_actors/connectors/in_memory."""
