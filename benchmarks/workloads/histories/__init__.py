"""Histories that benches read from files."""
