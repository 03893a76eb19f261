"""TODO-DOC learner/gradients."""
