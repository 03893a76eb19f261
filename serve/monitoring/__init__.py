"""What a replica counts and posts of itself, and what it tells of the whole system."""
