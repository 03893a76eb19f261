"""What the parts of a pipeline reach outside their processes: the broker, the online store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from freshrank.actors.clock import Clock
from freshrank.actors.protocols import EventSource, OnlineStore, RecordSink, StatusRegistry


@dataclass(frozen=True, slots=True)
class Connectors:
    """The connections of one process, to real systems or to their stand-ins in memory."""

    partitions: int
    """Of each topic of events."""
    source: Callable[[], EventSource]
    """Makes a reader of the broker, not started yet."""
    sink: RecordSink
    store: OnlineStore
    status_registry: StatusRegistry
    clock: Clock
    close: Callable[[], Awaitable[None]]
    """Flushes `sink` and closes what is open, but for the sources."""
