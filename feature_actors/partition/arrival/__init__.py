"""From the records of a batch to what changes rows, and to what was shown."""
