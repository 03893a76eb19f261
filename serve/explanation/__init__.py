"""Why candidates have the scores that they have, for people."""
