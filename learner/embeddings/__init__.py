"""The keyed table of embedding rows: hash index, pooling, checksum."""
