"""Candidates for recommendations: a catalogue of items, sources that rank it, and filters."""
