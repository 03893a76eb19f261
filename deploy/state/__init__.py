"""The state folder of a pipeline: its lock, its broker, and what its files contain."""
