"""Kafka brokers and Redis: child processes that are started here, or servers of others."""
