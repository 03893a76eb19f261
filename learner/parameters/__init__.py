"""The learner's state: summed gradients, weights with optimiser state, and copies of weights."""
