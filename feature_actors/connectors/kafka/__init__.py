"""Reading and writing topics of Kafka."""
