"""The connections of a process to the broker, the online store and the status registry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from freshrank.actors.clock import Clock
from freshrank.actors.protocols import EventSource, OnlineStore, RecordSink, StatusRegistry


@dataclass(frozen=True, slots=True)
class Connectors:
    """The connections of a process, to real systems or to their implementations in memory."""

    partitions: int
    """The number of partitions of each source topic."""
    source: Callable[[], EventSource]
    """Makes a reader of the broker, not started yet."""
    sink: RecordSink
    store: OnlineStore
    status_registry: StatusRegistry
    clock: Clock
    close: Callable[[], Awaitable[None]]
    """Flushes `sink` and closes all connections except those of the sources."""
