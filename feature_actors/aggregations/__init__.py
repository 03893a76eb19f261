"""TODO-DOC feature_actors/aggregations."""
