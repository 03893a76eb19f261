"""Keys that are made of several fields."""
