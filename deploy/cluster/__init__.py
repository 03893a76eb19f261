"""A system on Ray: host processes, their roles, hot standbys, and the supervisor of all."""
