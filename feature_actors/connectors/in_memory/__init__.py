"""Log, online store, status registry and snapshots in memory."""
