"""Reading the topics of some partitions: how far, how fast, and whether they still are the same."""
