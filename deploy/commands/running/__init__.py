"""A run of the whole system, from the request on the command line to its end."""
