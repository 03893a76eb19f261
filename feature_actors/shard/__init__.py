"""TODO-DOC feature_actors/shard."""
