"""TODO-DOC actors/kernels."""
