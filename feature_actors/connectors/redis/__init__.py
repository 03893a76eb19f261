"""The online store and the status registry in Redis."""
