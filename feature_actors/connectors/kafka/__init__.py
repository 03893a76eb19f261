"""TODO-DOC feature_actors/connectors/kafka."""
