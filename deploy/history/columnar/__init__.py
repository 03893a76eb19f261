"""The rows of a file as columns of events, without a step of Python for each row."""
