"""From features and context to the inputs of a model, in shards and replicas."""
