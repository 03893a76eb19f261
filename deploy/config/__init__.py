"""Settings and how they are read, and the memory that they may lead to."""
