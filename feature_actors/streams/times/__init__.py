"""Event times: their units and texts, and times that cannot be right."""
