"""Streams: schemas, record formats, and decoded events as columns."""
