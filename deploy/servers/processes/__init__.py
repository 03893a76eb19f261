"""What all servers that are started here have in common."""
