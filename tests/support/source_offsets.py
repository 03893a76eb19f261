"""Offsets of the topics that tests read."""

from __future__ import annotations

from freshrank.actors.messages import SourceOffsets


def upto(events: int = 0, shown: int = 0) -> SourceOffsets:
    """The next offset of the topic ``events``, and of the topic ``shown``."""
    return SourceOffsets({"events": events, "shown": shown})
