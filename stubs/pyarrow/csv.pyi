"""What is used of pyarrow.csv: all of it by way of `Any`."""
