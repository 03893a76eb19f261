"""The rejected records of a batch, and the counters of a partition since its first record."""

from __future__ import annotations

from dataclasses import dataclass, field

from freshrank.actors.records import RejectedRecord


@dataclass(slots=True)
class Counters:
    """Counts of a partition's records since its first."""

    events: int = 0
    """Applied to the features."""
    duplicates: int = 0
    late: int = 0
    dead: int = 0
    skipped: int = 0
    """Offsets that the log no longer had (retention, compaction)."""
    impressions: int = 0
    examples: int = 0
    positives: int = 0
    evicted: int = 0
    ids_forgotten: int = 0
    """Of events, before `Stream.dedup_within` had passed: there were more than are remembered."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Records that a batch rejected, and where reading has to go on."""

    dead: list[RejectedRecord] = field(default_factory=list)
    late: list[RejectedRecord] = field(default_factory=list)
    unread_from: int | None = None
    """The batch reached beyond an offset at which reading has to stop: go back to it."""
