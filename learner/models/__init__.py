"""TODO-DOC learner/models."""
