"""What a feature can be: one module a family, each definition beside its compiled loops."""
