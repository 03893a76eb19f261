"""TODO-DOC learner/optimizers."""
