"""Stream engines of other projects: for each, the code of its user, and what it needs."""
