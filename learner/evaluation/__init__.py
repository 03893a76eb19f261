"""TODO-DOC learner/evaluation."""
