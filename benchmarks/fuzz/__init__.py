"""Bad input: records and requests that break every rule, each with a stated outcome."""
