"""One place to see the system: pipelines, settings, who runs where, and the command line."""
