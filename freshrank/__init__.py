"""Fresh features, fresh weights: the public names."""
