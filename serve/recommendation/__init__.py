"""Recommendations: candidates of the catalogue that the model ranks, and items like others."""
