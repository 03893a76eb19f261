"""What is used of pyarrow.json: all of it by way of `Any`."""
