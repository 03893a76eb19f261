"""The guard: bounds, detection of a loss that has become worse, rollback, quarantine."""
