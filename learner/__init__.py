"""Models, optimisers, aggregation of gradients, and publication of versioned weights."""
