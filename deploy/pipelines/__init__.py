"""What a user declares: a pipeline, and the file that it stands in."""
