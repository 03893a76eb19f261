"""Offsets of the topics that tests read."""

from __future__ import annotations

from freshrank.actors.messages import SourceOffsets


def upto(events: int = 0, shown: int = 0, visits: int = 0) -> SourceOffsets:
    """The next offsets of the topics of these names."""
    return SourceOffsets({"events": events, "shown": shown, "visits": visits})
