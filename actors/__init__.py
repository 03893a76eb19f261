"""The words that all parts share: messages, protocols, errors, clock, sharding, versions."""
