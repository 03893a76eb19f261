"""Event sources, sinks and stores: Kafka, Redis, and both in memory."""
