"""The replicas of a running endpoint: how many there are, and how they are updated."""
