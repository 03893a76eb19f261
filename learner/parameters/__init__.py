"""TODO-DOC learner/parameters."""
