"""What was served, read from its log and joined with the events that label it."""
