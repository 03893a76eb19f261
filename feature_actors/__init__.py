"""Per-user state from the stream: definitions, compiled state, joiner, Kafka in, Redis out."""
