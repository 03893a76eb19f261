"""The replicas of a running endpoint: how many there are."""
