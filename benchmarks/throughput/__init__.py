"""Benches of rates and volumes: events a second, overload, snapshots of many users."""
