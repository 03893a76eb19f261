"""The small JSON files in a state folder, each with its type."""
