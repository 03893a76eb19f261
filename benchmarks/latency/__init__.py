"""Benches of delays: how soon an event counts, how soon a score is answered."""
