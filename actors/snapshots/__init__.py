"""Files of state: their format, how they are written durably, and the stores that keep them."""
