"""The demonstration's shop: simulated shoppers, and their traffic at a running system."""
