"""TODO-DOC learner/embeddings."""
