"""Lines of values, such as events, as columns, wherever the values are taken from."""
