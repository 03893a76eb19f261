"""Online learners of other projects, each in an environment of its own: a script and its pins."""
