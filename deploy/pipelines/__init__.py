"""What a user declares: a pipeline, the file that it stands in, the history that it replays."""
