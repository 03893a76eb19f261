"""The commands that read a recorded history, without Kafka, Redis and Ray."""
