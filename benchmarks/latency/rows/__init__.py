"""How soon the row that an event changes can be read: of a shard's, and of stream engines'."""
