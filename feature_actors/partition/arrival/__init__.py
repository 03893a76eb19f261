"""From the records of a batch to the events that change rows."""
