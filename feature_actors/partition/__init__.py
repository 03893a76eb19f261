"""The state of one partition, from records to rows, examples and snapshots."""
