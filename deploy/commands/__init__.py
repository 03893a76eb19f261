"""The commands of the command line: run, replay, state, and those of plugins."""
