"""TODO-DOC learner/guard."""
