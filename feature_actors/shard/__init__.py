"""The shard: the loop over its partitions, and the outputs that it writes to."""
