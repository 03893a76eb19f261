"""Feature views and their compiled plans."""
