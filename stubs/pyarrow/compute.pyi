"""What is used of pyarrow.compute: all of it by way of `Any`."""
