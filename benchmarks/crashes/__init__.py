"""The crash simulation, shared with the tests, and the bench that runs all of its scenarios."""
