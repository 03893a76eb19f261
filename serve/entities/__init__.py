"""What people ask about one entity: its features as of now, and its last events."""
